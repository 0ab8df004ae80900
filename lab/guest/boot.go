package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// goodbye is how long the guest may take to power off once its command ended.
// A second is usual; only the exit code is still wanted then.
const goodbye = 10 * time.Second

// A marker makes the lines by which init speaks to the host. Its nonce is new
// for each run, so that the command's own output cannot be taken for it.
type marker struct{ nonce string }

func newMarker() marker {
	var b [8]byte
	rand.Read(b[:]) // never fails where getrandom(2) exists
	return marker{hex.EncodeToString(b[:])}
}

func (m marker) up() string   { return "guest-" + m.nonce + " up" }
func (m marker) exit() string { return "guest-" + m.nonce + " exit" }

// boot runs QEMU, copies the guest's console to standard output and returns
// the command's exit code. A guest that ends without one, or lives longer
// than ctx, is an error.
func boot(ctx context.Context, end marker, qemu string, args ...string) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nobody else would end it
	console, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", qemu, err)
	}
	code, err := watch(console, os.Stdout, end, func() { time.AfterFunc(goodbye, cancel) })
	wait := cmd.Wait()
	switch {
	case err == nil:
		return code, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return 0, errors.New("the guest ran longer than -timeout")
	case ctx.Err() != nil:
		return 0, ctx.Err()
	}
	return 0, errors.Join(err, wait)
}

// watch copies lines from console to out until the console ends, leaves out
// the marker's own, and returns the exit code they carry. What the kernel says
// before the command is shown only if the command never ran. It calls leaving
// when the command has ended.
func watch(console io.Reader, out io.Writer, end marker, leaving func()) (int, error) {
	const booting, running, ended = 0, 1, 2
	var (
		start = time.Now()
		state = booting
		code  int
		boot  time.Duration
		early bytes.Buffer
		lines = bufio.NewReader(console)
	)
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if status, ok := strings.CutPrefix(line, end.exit()+" "); ok {
			if n, err := strconv.Atoi(status); err == nil {
				code, state = n, ended
				leaving()
			}
		} else if free, ok := strings.CutPrefix(line, end.up()+" "); ok {
			state = running
			boot = time.Since(start)
			fmt.Fprintf(out, "guest: up after %.1f s, %s KiB of memory are free\n", boot.Seconds(), free)
		} else if line != "" || err == nil {
			switch state {
			case booting:
				fmt.Fprintln(&early, line)
			case running:
				fmt.Fprintln(out, line)
			}
		}
		if err != nil {
			break
		}
	}
	switch state {
	case booting:
		_, _ = early.WriteTo(out)
		return 0, errors.New("the guest ended before its command ran: see its console above, more with -v")
	case running:
		return 0, errors.New("the guest ended before its command did: see its console above")
	}
	fmt.Fprintf(out, "guest: exit %d after %.1f s, %.1f s of them to boot\n", code, time.Since(start).Seconds(), boot.Seconds())
	return code, nil
}
