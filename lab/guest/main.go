// Command guest boots a router under QEMU and runs one command in it.
//
// The machine is a MIPS board (Malta with a 24Kf core), the class of router b4
// is made for, or an ARM one of 64 bits; kernel and busybox are Debian's
// packages for it, fetched with apt into a directory of their own, so that
// nothing of the host changes. The kernel has what the developer's own often
// lacks: nftables' native queue expression, flow tables, netem. An OpenWrt
// package is unpacked into the guest's root, so that what is shipped runs.
//
//	go run ./guest -ipk ../build/packages/ipk/mipsel_24kc/b4_*.ipk -run 'b4d --version'
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
// bring, what IPsec takes, and what a lab is built of. crc32c_generic comes
// first because libcrc32c asks for the algorithm, not for the module, when it
// initialises.
var modules = []string{
	"crc32c_generic",
	"nfnetlink", "nf_tables", "nfnetlink_queue", "nf_conntrack_netlink",
	"nft_queue", "nft_ct", "nft_objref", "nft_limit", "nft_log", "nft_quota", "nft_hash", "nft_numgen",
	"nft_nat", "nft_masq", "nft_redir", "nft_chain_nat", "nft_fib_inet", "nft_reject_inet",
	"nft_compat", "xt_NFQUEUE",
	"nf_flow_table", "nf_flow_table_inet", "nft_flow_offload",
	"esp4", "esp6", "xfrm_user", "authenc",
	"tun", "veth", "dummy", "bridge", "sch_netem",
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
	var packages stringList
	flag.Var(&packages, "ipk", "`package` to unpack into the guest's root; repeatable")
	var add fileList
	flag.Var(&add, "add", "`host:guest` paths of a file, or a directory, to put into the guest; repeatable")
	arch := flag.String("arch", "mipsel", "the guest's machine: mipsel or arm64")
	command := flag.String("run", "", "shell command to run in the guest")
	dir := flag.String("dir", "../build/guest", "directory that keeps the downloads")
	mirror := flag.String("mirror", "http://deb.debian.org/debian", "Debian mirror that carries the machine's packages")
	memory := flag.Int("m", 128, "the guest's memory in MiB")
	cores := flag.Int("smp", 1, "how many cores the guest has; mipsel has one")
	limit := flag.Duration("timeout", 40*time.Minute, "end the guest after this long")
	verbose := flag.Bool("v", false, "make the kernel talk, and show it")
	flag.Parse()
	if *command == "" || flag.NArg() > 0 {
		return 0, errors.New("usage: guest [-add host:guest] ... -run command")
	}

	m, err := findMachine(*arch)
	if err != nil {
		return 0, err
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	base, err := filepath.Abs(filepath.Join(*dir, m.arch))
	if err != nil {
		return 0, err
	}
	qemu, deb, err := m.prepare(ctx, base, *mirror)
	if err != nil {
		return 0, err
	}
	end := newMarker()
	image := filepath.Join(base, "initrd."+end.nonce)
	defer os.Remove(image)
	init := initScript(*command, end, time.Now())
	if err := writeImage(image, deb, content{packages, add, init}); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	return boot(ctx, end, qemu, m.flags(*memory, *cores, deb.kernel, image, *verbose)...)
}

// A stringList collects -ipk flags.
type stringList []string

func (l *stringList) String() string { return fmt.Sprint(*l) }

func (l *stringList) Set(s string) error {
	*l = append(*l, s)
	return nil
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
