package nfq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"b4/engine"
	"b4/inject"
	"b4/mark"
	"b4/nstest"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// forbid drops what the router sends with inject's mark, and is longer than max.
func forbid(t *testing.T, max uint32) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "other"})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "output", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
	ours := binaryutil.NativeEndian.PutUint32(testOurs)
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: ours, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ours},
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, max)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// An uplink is a device whose far end the test reads.
type uplink struct{ *os.File }

var uplinkAddrs = []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("2001:db8::1/64")}

func newUplink(t *testing.T) uplink {
	t.Helper()
	l := uplink{nstest.TUN(t, "wan")}
	nstest.Up(t, "wan")
	for _, a := range uplinkAddrs {
		nstest.Addr(t, "wan", a)
	}
	return l
}

// payloads reads until there is no more, and returns what the datagrams had in
// them; fragments are put together. It has more patience where any are awaited.
func (l uplink) payloads(any bool) (all [][]byte) {
	b := make([]byte, 2048)
	for {
		wait := 200 * time.Millisecond
		if any && len(all) == 0 {
			wait = 5 * time.Second
		}
		l.SetReadDeadline(time.Now().Add(wait))
		n, err := l.Read(b)
		if err != nil {
			return all
		}
		p := b[:n]
		next, at, later := p[9], 20, false
		if p[0]>>4 == 6 {
			next, at = p[6], 40
			if next == unix.IPPROTO_FRAGMENT {
				next, later = p[40], binary.BigEndian.Uint16(p[42:])>>3 > 0
				at += 8
			}
		} else {
			later = binary.BigEndian.Uint16(p[6:])&0x1fff > 0
		}
		switch {
		case next != unix.IPPROTO_UDP:
		case later:
			all[len(all)-1] = append(all[len(all)-1], p[at:]...)
		default:
			all = append(all, bytes.Clone(p[at+8:]))
		}
	}
}

// datagram is a connected socket that leaves it to the router to fragment.
func datagram(t *testing.T, to netip.Addr) int {
	t.Helper()
	t.Helper()
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: testPort, Addr: to.As16()})
	if to.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: testPort, Addr: to.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if to.Is4() {
		err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	}
	if err := errors.Join(err, unix.Connect(fd, sa)); err != nil {
		t.Fatal(err)
	}
	return fd
}

// shorten is a datagram with n bytes of the payload of one.
func shorten(pkt []byte, n int) []byte {
	at := len(pkt) - len(segment(pkt))
	b := bytes.Clone(pkt[:at+8+n])
	if b[0]>>4 == 4 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		sumHeader(b)
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	}
	binary.BigEndian.PutUint16(b[at+4:], uint16(8+n))
	b[at+6], b[at+7] = 0, 0 // no checksum, which nobody checks here
	return b
}

// Where a packet that is to go ahead cannot be sent, be it the first of them or
// a later one, the packet at hand leaves as it came; if the device is down it is
// lost, as it would be without b4, and the next one is not.
func TestKernelSendFails(t *testing.T) {
	const size, small, mtu = 1400, 8, 1280
	for _, c := range []struct {
		errno  unix.Errno
		spoil  func(t *testing.T)
		mend   func(t *testing.T)
		pieces int // that leave
		whole  bool
	}{
		{unix.EPERM, func(t *testing.T) { forbid(t, 200) }, nil, 1, true},
		{unix.EPERM, func(t *testing.T) { forbid(t, 1) }, nil, 0, true},
		{unix.EMSGSIZE, func(t *testing.T) { nstest.SetMTU(t, "wan", mtu) }, nil, 1, true},
		{unix.ENETUNREACH, func(t *testing.T) { nstest.Down(t, "wan") }, func(t *testing.T) {
			nstest.Up(t, "wan")
			nstest.Addr(t, "wan", uplinkAddrs[1]) // IPv6's goes with the device
		}, 0, false},
	} {
		for _, a := range uplinkAddrs {
			to := a.Addr().Next()
			t.Run(fmt.Sprint(c.errno, " ", c.pieces, " ", to), func(t *testing.T) {
				nstest.Enter(t)
				wan := newUplink(t)
				marks, err := mark.New(mark.Base)
				if err != nil {
					t.Fatal(err)
				}
				send, err := inject.Open(marks)
				if err != nil {
					t.Fatal(err)
				}
				defer send.Close()
				reported := make(chan error, 16)
				e := New(Config{Num: testNum, Send: send, Report: func(err error) { reported <- err }})
				if err := e.Start(); err != nil {
					t.Fatal(err)
				}
				rules(t)
				end, first := make(chan error, 1), true
				held, spoilt := make(chan bool), make(chan bool) // this goroutine alone is in the namespace
				go func() {
					end <- e.Run(judge(func(p *engine.Packet, out *engine.Batch) engine.Verdict {
						if !first {
							return engine.Accept
						}
						first = false
						held <- true
						<-spoilt
						out.Add(shorten(p.Bytes, small), p.Meta)
						out.Add(p.Bytes, p.Meta)
						out.Add(shorten(p.Bytes, 2*small), p.Meta)
						return engine.Replace
					}))
				}()
				msg := bytes.Repeat([]byte("0123456789abcdef"), size/16)
				fd := datagram(t, to)
				unix.Write(fd, msg)
				<-held
				c.spoil(t)
				close(spoilt)
				var want [][]byte
				for range c.pieces {
					want = append(want, msg[:small])
				}
				if c.whole {
					want = append(want, msg)
				}
				if err := <-reported; !errors.Is(err, c.errno) {
					t.Errorf("reported %v, want %v", err, c.errno)
				}
				got := wan.payloads(len(want) > 0)
				if len(got) != len(want) {
					t.Fatalf("%d datagrams left, want %d", len(got), len(want))
				}
				for i := range want {
					if !bytes.Equal(got[i], want[i]) {
						t.Errorf("datagram %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
					}
				}
				if n := e.Counters(); n.SendFailed != 1 || n.Sent != uint64(c.pieces) || n.Replaced != 0 || n.Accepted != 1 {
					t.Errorf("counters %+v", n)
				}
				if c.mend != nil {
					c.mend(t)
				}
				unix.Write(datagram(t, to), msg[:100])
				if got := wan.payloads(true); len(got) != 1 || !bytes.Equal(got[0], msg[:100]) {
					t.Errorf("the next: %d datagrams", len(got))
				}
				if err := errors.Join(e.Close(), <-end); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A kernel that says once how it had no room, ENOBUFS, ends nothing: what it
// could not show has passed, and what comes next is shown.
func TestKernelNoBuffer(t *testing.T) {
	nstest.Enter(t)
	e := New(Config{Num: testNum, Len: 4096})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rules(t)
	q := queueOf(e)
	if err := errors.Join(unix.SetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<14),
		unix.SetsockoptInt(q.fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 0)); err != nil {
		t.Fatal(err)
	}
	from, to := udpPair(t)
	if err := unix.SetsockoptInt(to, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20); err != nil {
		t.Fatal(err)
	}
	const total = 200
	for range total {
		unix.Write(from, make([]byte, 1000))
	}
	for quiet := 0; quiet < 2; { // the first time may be ENOBUFS
		p, err := q.Read(10 * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if len(p) == 0 {
			quiet++
		}
		for i := range p {
			q.Settle(&p[i], engine.Accept, nil)
		}
		q.Flush()
	}
	unix.Write(from, []byte("next"))
	if p, err := q.Read(time.Second); len(p) != 1 || err != nil {
		t.Fatal(p, err)
	}
	if n := e.Counters(); n.Lost == 0 || n.Lost+n.Read != total+1 {
		t.Errorf("counters %+v", n)
	}
	var b [2000]byte
	for i := range total {
		if _, err := unix.Read(to, b[:]); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}
