// Command guest boots a MIPS router under QEMU and runs one command in it.
//
// The machine is the Malta board with a 24Kf core and 128 MiB, the class of
// router b4 is made for; kernel and busybox are Debian's mipsel packages,
// fetched with apt into a directory of their own, so that nothing of the host
// changes. The kernel has what the developer's own often lacks: nftables'
// native queue expression, flow tables, netem.
//
//	go run ./guest -add ../build/b4d-mipsle:/b4d -run '/b4d --version'
//
// The guest's console goes to standard output, and guest exits as the command
// did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// modules are loaded before the command runs, with what they depend on, in
// this order: what OpenWrt's kmod-nft-core, -nat, -fib, -offload and -queue
// bring, and what a lab is built of. crc32c_generic comes first because
// libcrc32c asks for the algorithm, not for the module, when it initialises.
var modules = []string{
	"crc32c_generic",
	"nfnetlink", "nf_tables", "nfnetlink_queue", "nf_conntrack_netlink",
	"nft_queue", "nft_ct", "nft_objref", "nft_limit", "nft_log", "nft_quota", "nft_hash", "nft_numgen",
	"nft_nat", "nft_masq", "nft_redir", "nft_chain_nat", "nft_fib_inet", "nft_reject_inet",
	"nft_compat", "xt_NFQUEUE",
	"nf_flow_table", "nf_flow_table_inet", "nft_flow_offload",
	"tun", "veth", "dummy", "sch_netem",
}

func main() {
	runtime.LockOSThread() // QEMU dies with the thread that started it, see boot
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		code = 1
	}
	os.Exit(code)
}

func run() (code int, err error) {
	var add fileList
	flag.Var(&add, "add", "`host:guest` paths of a file, or a directory, to put into the guest; repeatable")
	command := flag.String("run", "", "shell command to run in the guest")
	dir := flag.String("dir", "../build/guest", "directory that keeps the downloads")
	mirror := flag.String("mirror", "http://deb.debian.org/debian", "Debian mirror that carries mipsel")
	memory := flag.Int("m", 128, "the guest's memory in MiB")
	limit := flag.Duration("timeout", 10*time.Minute, "end the guest after this long")
	verbose := flag.Bool("v", false, "make the kernel talk, and show it")
	flag.Parse()
	if *command == "" || flag.NArg() > 0 {
		return 0, errors.New("usage: guest [-add host:guest] ... -run command")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	qemu, err := findQEMU(ctx)
	if err != nil {
		return 0, err
	}
	base, err := filepath.Abs(*dir)
	if err != nil {
		return 0, err
	}
	deb, err := fetch(ctx, base, *mirror)
	if err != nil {
		return 0, err
	}
	end := newMarker()
	image := filepath.Join(base, "initrd."+end.nonce)
	defer os.Remove(image)
	if err := writeImage(image, deb, add, initScript(*command, end, time.Now())); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	return boot(ctx, end, qemu,
		"-M", "malta", "-cpu", "24Kf", "-m", fmt.Sprint(*memory),
		"-vga", "none", "-nic", "none", "-nographic", "-no-reboot",
		"-kernel", deb.kernel, "-initrd", image,
		"-append", kernelLine(*verbose))
}

func kernelLine(verbose bool) string {
	line := "console=ttyS0 panic=1" // with -no-reboot a panic ends QEMU at once
	if !verbose {
		line += " quiet"
	}
	return line
}

// A fileList collects -add flags.
type fileList []added

type added struct{ host, guest string }

func (l *fileList) String() string { return fmt.Sprint(*l) }

func (l *fileList) Set(s string) error {
	host, guest, ok := strings.Cut(s, ":")
	if !ok || host == "" || !strings.HasPrefix(guest, "/") {
		return errors.New("want host:guest with an absolute guest path")
	}
	*l = append(*l, added{host, guest})
	return nil
}
