package pipeline

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"
	"b4/packet"

	"golang.org/x/sys/unix"
)

// A road joins two kernels, a client's and a server's, through a pipeline.
type road struct {
	t        testing.TB
	p        *Pipeline
	ends     [2]*nstest.Space // client, server
	wires    [2]*os.File
	withData int // SYNs that came with data
	shown    bool
}

const mainTable = 254

func newRoad(t testing.TB, rule Rule) *road {
	r := &road{t: t, p: New(64, &Config{Rules: []Rule{rule}, Ports: []uint16{443}})}
	for i, a := range []string{"192.0.2.1/32", "198.51.100.7/32"} {
		to := netip.MustParsePrefix([]string{"198.51.100.0/24", "192.0.2.0/24"}[i])
		r.ends[i] = nstest.NewSpace(t)
		r.ends[i].Do(func() {
			nstest.Sysctl(t, "net.ipv4.tcp_fastopen=519") // both sides, and without cookies
			r.wires[i] = nstest.TUN(t, "wire")
			nstest.Addr(t, "wire", netip.MustParsePrefix(a))
			nstest.Up(t, "wire")
			nstest.Route(t, "wire", to, mainTable, 0)
		})
	}
	return r
}

// run carries packets between the two until the wires are closed. The client's
// come first in each turn.
func (r *road) run(done chan<- struct{}) {
	defer close(done)
	var out engine.Batch
	for b := make([]byte, 65536); ; {
		for i, from := range r.wires {
			from.SetReadDeadline(time.Now().Add(time.Millisecond))
			n, err := from.Read(b)
			if err != nil && !os.IsTimeout(err) {
				return
			}
			if err == nil {
				out.Reset()
				v := r.p.Handle(time.Now(), &engine.Packet{Bytes: b[:n], Full: n, Dir: engine.Direction(i)}, &out)
				r.count(i, b[:n])
				r.put(r.wires[1-i], &out)
				if v.Act() == engine.Accept {
					r.wires[1-i].Write(b[:n])
				}
			}
			out.Reset()
			r.p.Tick(time.Now(), &out)
			r.put(r.wires[1], &out)
		}
	}
}

func (r *road) put(to *os.File, out *engine.Batch) {
	for i := range out.Len() {
		b := out.At(i).Bytes
		r.shown = r.shown || bytes.Contains(b, []byte(host))
		to.Write(b)
	}
}

// count notes a SYN of the client's that brings data.
func (r *road) count(from int, b []byte) {
	var v packet.View
	if from == 0 && v.Decode(b) && v.Flags&packet.SYN != 0 && len(v.Payload) > 0 {
		r.withData++
	}
}

// socket makes a socket in one of the two kernels.
func (r *road) socket(end int) (fd int) {
	r.t.Helper()
	r.ends[end].Do(func() {
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			r.t.Fatal(err)
		}
	})
	return fd
}

// Two kernels that do TCP Fast Open agree on the client's bytes, also where the
// SYN's data is kept from the server, and then the name is hidden.
func TestKernelFastOpen(t *testing.T) {
	for _, tt := range []struct {
		name, steps string
		size        int
		hide        bool
	}{
		{"SYNs shown", "synfake(badsum) split(midsld) disorder", 600, true},
		{"SYNs shown, a long hello", "synfake(badsum) split(midsld) disorder", 1900, true},
		{"SYNs not shown", "split(midsld) disorder", 1900, false},
	} {
		r := newRoad(t, Rule{Name: "all", For: treat(Desync, strategy(t, tt.steps))})
		done := make(chan struct{})
		go r.run(done)
		msg := append(sized(tt.size, true), "and what follows"...)
		got := r.exchange(msg)
		for _, w := range r.wires {
			w.Close()
		}
		<-done
		if string(got) != string(msg) {
			t.Errorf("%s: the server reads %d bytes of %d, or others", tt.name, len(got), len(msg))
		}
		if r.withData == 0 {
			t.Errorf("%s: no SYN had data", tt.name)
		}
		if c := r.p.Counts(); tt.hide && (r.shown || c["treated"] != 1 || c["handshake"] == 0) {
			t.Errorf("%s: name shown %v, %v", tt.name, r.shown, c)
		}
	}
}

// exchange sends msg by TCP Fast Open and returns what the server reads.
func (r *road) exchange(msg []byte) (got []byte) {
	r.t.Helper()
	server, client := r.socket(1), r.socket(0)
	defer unix.Close(client)
	at := &unix.SockaddrInet4{Port: 443, Addr: [4]byte{198, 51, 100, 7}}
	const backlog = 5
	for _, err := range []error{
		unix.SetsockoptInt(server, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, backlog),
		unix.Bind(server, at), unix.Listen(server, backlog),
		unix.Sendto(client, msg, unix.MSG_FASTOPEN, at),
		unix.Shutdown(client, unix.SHUT_WR),
	} {
		if err != nil {
			r.t.Fatal(err)
		}
	}
	c, _, err := unix.Accept(server)
	unix.Close(server)
	if err != nil {
		r.t.Fatal(err)
	}
	f := os.NewFile(uintptr(c), "connection")
	defer f.Close()
	got, err = io.ReadAll(f)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}
