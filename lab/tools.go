package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Hellos lists the kinds this machine can send: Go's own, and those of the
// programs that are installed.
func Hellos() []Hello {
	all := []Hello{Small, PostQuantum}
	if _, err := exec.LookPath("curl"); err == nil {
		all = append(all, Curl)
	}
	if _, err := chromiumPath(); err == nil {
		all = append(all, Chromium)
	}
	return all
}

// curl does one exchange with the curl program and its TLS library.
func (l *Lab) curl(r Request) (Result, error) {
	start := time.Now()
	limit := l.patience(r.Timeout)
	addr := r.addr()
	port := l.ports.take()
	cmd := exec.Command("curl", "--silent", "--show-error", "--fail", "--insecure", "--http1.1",
		"--max-time", strconv.FormatFloat(limit.Seconds(), 'f', 1, 64),
		"--local-port", strconv.Itoa(port),
		"--resolve", fmt.Sprintf("%s:%d:%s", r.Host, addr.Port(), bracketed(addr.Addr())),
		r.origin()+r.Path)
	var msg transcript
	cmd.Stderr = &msg
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	if err := l.from(r).Start(cmd); err != nil {
		return Result{}, fmt.Errorf("start curl: %w", err)
	}
	res := Result{Local: netip.AddrPortFrom(netip.Addr{}, uint16(port))}
	readErr := res.read(out, r.Pace)
	err = cmd.Wait()
	res.Took = time.Since(start)
	switch {
	case err != nil:
		return res, fmt.Errorf("curl: %w: %s", err, strings.TrimSpace(msg.String()))
	case readErr != nil:
		return res, fmt.Errorf("read from curl: %w", readErr)
	}
	return res, nil
}

func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// read takes in a body, calling pace, which may be nil, with the bytes so far.
func (res *Result) read(body io.Reader, pace func(int64)) error {
	sum, buf := sha256.New(), make([]byte, 32<<10)
	var head strings.Builder
	for {
		n, err := body.Read(buf)
		sum.Write(buf[:n])
		head.Write(buf[:min(n, max(0, 200-head.Len()))])
		res.N += int64(n)
		if pace != nil {
			pace(res.N)
		}
		if err != nil {
			res.Body, res.Sum = head.String(), hex.EncodeToString(sum.Sum(nil))
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}
