package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"
	"b4/packet"
	"b4/rtnl"

	"golang.org/x/sys/unix"
)

func TestKernelDevice(t *testing.T) {
	s := nstest.NewSpace(t)
	d := openIn(t, s, DeviceConfig{Name: "b4tun%d", MTU: 1400, Queue: 200, Addrs: []netip.Prefix{net4, net6}})
	t.Log(d.Name(), d.Offloads())
	if d.Name() != "b4tun0" || d.Offloads()&(Checksums|TCP4|TCP6) != Checksums|TCP4|TCP6 {
		t.Errorf("name %s, offloads %v", d.Name(), d.Offloads())
	}
	mtu := func() (n uint32) {
		s.Do(func() { n = nstest.Device(t, "b4tun0", unix.SIOCGIFMTU, nil).Uint32() })
		return n
	}
	if mtu() != 1400 {
		t.Errorf("MTU %d", mtu())
	}
	if err := d.SetMTU(1492); err != nil || mtu() != 1492 { // by another thread than the namespace's
		t.Errorf("MTU %d, %v", mtu(), err)
	}
	if err := d.SetMTU(20); !errors.Is(err, unix.EINVAL) {
		t.Errorf("an MTU of 20: %v", err)
	}
	s.Do(func() {
		i, err := net.InterfaceByName("b4tun0")
		if err != nil || int32(i.Index) != d.Index() || i.Flags&net.FlagUp == 0 {
			t.Errorf("%+v, %v", i, err)
		}
		addrs, _ := i.Addrs()
		var found int
		for _, a := range addrs {
			if a.String() == net4.String() || a.String() == net6.String() {
				found++
			}
		}
		if found != 2 {
			t.Errorf("addresses %v", addrs)
		}
		if q := nstest.Device(t, "b4tun0", unix.SIOCGIFTXQLEN, nil).Uint32(); q != 200 {
			t.Errorf("queue length %d", q)
		}
		if _, err := Open(DeviceConfig{Name: "b4tun0"}); !errors.Is(err, unix.EBUSY) {
			t.Errorf("second of the name: %v", err)
		} else {
			t.Log(err)
		}
		if _, err := Open(DeviceConfig{Name: "lo"}); err == nil {
			t.Error("took over lo")
		} else {
			t.Log(err)
		}
	})
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	s.Do(func() {
		if _, err := net.InterfaceByName("b4tun0"); err == nil {
			t.Error("the device outlives its closing")
		}
	})
	var h Header
	if _, err := d.Read(time.Second, &h, make([]byte, 9)); err != os.ErrClosed {
		t.Errorf("read: %v", err)
	}
	if err := d.Write(h, make([]byte, 20)); err != os.ErrClosed {
		t.Errorf("write: %v", err)
	}
	if err := d.SetMTU(1500); err != os.ErrClosed {
		t.Errorf("set MTU: %v", err)
	}
}

// A packet goes out, its checksum partial until it is completed, and an answer
// comes in.
func TestKernelReadWrite(t *testing.T) {
	s := nstest.NewSpace(t)
	d := openIn(t, s, DeviceConfig{Name: "b4tun0", Addrs: []netip.Prefix{net4, net6}})
	buf := make([]byte, maxPacket)
	for _, far := range []netip.Addr{far4, far6} {
		c := udpTo(t, s, far, 4433)
		if _, err := c.Write([]byte("question")); err != nil {
			t.Fatal(err)
		}
		var h Header
		b := next(t, d, &h, buf)
		if err := h.Complete(b); err != nil || h.Flags&needsCsum == 0 || !packet.ChecksumOK(b) {
			t.Errorf("%v: header %+v, %v", far, h, err)
		}
		var v packet.View
		if !v.Decode(b) || string(v.Payload) != "question" {
			t.Fatalf("%v: %x", far, b)
		}
		answer(b, v.IPLen)
		if err := d.Write(Header{}, b); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 100)
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := c.Read(got); err != nil || string(got[:n]) != "question" {
			t.Errorf("%v: answer %q, %v", far, got[:n], err)
		}
	}
}

// answer turns a UDP packet round.
func answer(b []byte, l4 int) {
	n, at := 4, 12
	if b[0]>>4 == 6 {
		n, at = 16, 8
	}
	for i := range n {
		b[at+i], b[at+n+i] = b[at+n+i], b[at+i]
	}
	for i := range 2 {
		b[l4+i], b[l4+2+i] = b[l4+2+i], b[l4+i]
	}
}

// Two hosts talk TCP over two devices. What one sends arrives here in
// superpackets; cut by us, the other's kernel takes the segments for its own
// line's. The other way they travel whole, one write each.
func TestKernelSuperpackets(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		name, near, far := "v4", net4, netip.PrefixFrom(far4, 24)
		if v6 {
			name, near, far = "v6", net6, netip.PrefixFrom(far6, 64)
		}
		t.Run(name, func(t *testing.T) {
			a, b := nstest.NewSpace(t), nstest.NewSpace(t)
			bigSegments(t, a, b)
			da := openIn(t, a, DeviceConfig{Name: "a", Queue: 5000, Addrs: []netip.Prefix{near}})
			db := openIn(t, b, DeviceConfig{Name: "b", Queue: 5000, Addrs: []netip.Prefix{far}})
			var cut, whole, longest atomic.Int64
			go pump(t, da, func(h Header, p []byte) error {
				if !h.Super() {
					return db.Write(h, p)
				}
				cut.Add(1)
				return writeCut(db, &h, p)
			})
			go pump(t, db, func(h Header, p []byte) error {
				if h.Super() {
					whole.Add(1)
					longest.Store(max(longest.Load(), int64(len(p))))
				}
				return da.Write(h, p)
			})
			client, server := connect(t, a, b, netip.AddrPortFrom(far.Addr(), 4430))
			for _, c := range [][2]net.Conn{{client, server}, {server, client}} {
				transfer(t, c[0], c[1], 8<<20)
			}
			t.Logf("%d superpackets cut, %d whole, the longest of %d bytes", cut.Load(), whole.Load(), longest.Load())
			if cut.Load() < 20 || whole.Load() < 20 || longest.Load() < 3*1500 { // how long they get is up to TCP and the machine
				t.Error("no superpackets")
			}
		})
	}
}

// bigSegments has TCP make superpackets in the namespaces, however slow the machine.
func bigSegments(t *testing.T, in ...*nstest.Space) {
	t.Helper()
	for _, s := range in {
		s.Do(func() { nstest.Sysctl(t, "net.ipv4.tcp_min_tso_segs=40") })
	}
}

// writeCut writes a superpacket of an MTU of 1500, segment by segment.
func writeCut(d *Device, h *Header, p []byte) error {
	var c Cutter
	if err := c.Reset(h, p); err != nil {
		return err
	}
	for seg := make([]byte, 1500); c.Len() > 0; {
		if err := d.Write(Header{}, c.Next(seg)); err != nil {
			return err
		}
	}
	return nil
}

// pump carries what a device gives until it is closed.
func pump(t testing.TB, d *Device, carry func(Header, []byte) error) {
	buf := make([]byte, maxPacket)
	for {
		var h Header
		n, err := d.Read(time.Minute, &h, buf)
		if err == os.ErrClosed {
			return
		} else if err != nil {
			t.Error(err)
			return
		}
		if n == 0 || chatter(buf[:n]) {
			continue
		}
		if err := carry(h, buf[:n]); err != nil && err != os.ErrClosed {
			t.Errorf("carry %+v: %v", h, err)
			return
		}
	}
}

// connect makes a TCP connection from one namespace to a listener in another.
func connect(t testing.TB, from, to *nstest.Space, addr netip.AddrPort) (client, server net.Conn) {
	t.Helper()
	var l *net.TCPListener
	var err error
	eventually(t, "the address can be listened on", func() bool {
		to.Do(func() { l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr)) })
		return err == nil
	})
	defer l.Close()
	eventually(t, "there is an address to connect from", func() bool {
		from.Do(func() { client, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr)) })
		return err == nil
	})
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		t.Cleanup(func() { c.Close() })
	}
	return client, server
}

// transfer sends n random bytes and compares what arrives.
func transfer(t *testing.T, from, to net.Conn, n int) {
	t.Helper()
	var seed [32]byte
	seed[0] = byte(n)
	want := make([]byte, n)
	rand.NewChaCha8(seed).Read(want)
	go from.Write(want)
	got := make([]byte, n)
	if _, err := io.ReadFull(to, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("other bytes arrived")
	}
}

// inBursts has what is written to c leave as datagrams of n bytes.
func inBursts(t *testing.T, c *net.UDPConn, n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var refused error
	err = raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, n) })
	if err := errors.Join(err, refused); err != nil {
		t.Fatal(err)
	}
}

// A burst of datagrams sent as one arrives as one, and is cut to what was sent.
func TestKernelUDPSuperpacket(t *testing.T) {
	s := nstest.NewSpace(t)
	d := openIn(t, s, DeviceConfig{Name: "b4tun0", Addrs: []netip.Prefix{net4, net6}})
	if d.Offloads()&UDP == 0 {
		t.Skip("no USO in this kernel")
	}
	buf := make([]byte, maxPacket)
	for _, far := range []netip.Addr{far4, far6} {
		c := udpTo(t, s, far, 4433)
		inBursts(t, c, 1000)
		sent := make([]byte, 10500)
		for i := range sent {
			sent[i] = byte(i / 7)
		}
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		var h Header
		b := next(t, d, &h, buf)
		if h.GSOType != gsoUDP || len(b) < len(sent) {
			t.Fatalf("%v: header %+v, %d bytes", far, h, len(b))
		}
		var batch engine.Batch
		if err := Cut(&h, b, &batch, engine.Meta{}); err != nil || batch.Len() != 11 {
			t.Fatalf("%v: %d datagrams, %v", far, batch.Len(), err)
		}
		var got []byte
		for i := range batch.Len() {
			var v packet.View
			if o := batch.At(i); !v.Decode(o.Bytes) || !packet.ChecksumOK(o.Bytes) {
				t.Errorf("%v: datagram %x", far, o.Bytes)
			}
			got = append(got, v.Payload...)
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%v: other bytes", far)
		}
	}
}

// What finds the queue full is counted, whichever thread asks, also when the device is
// gone. It makes no garbage.
func TestKernelDropped(t *testing.T) {
	s := nstest.NewSpace(t)
	s.Do(func() { nstest.Sysctl(t, "net.ipv6.conf.default.disable_ipv6=1") }) // IPv6 would ask for routers
	d := openIn(t, s, DeviceConfig{Name: "b4tun0", Queue: 10, Addrs: []netip.Prefix{net4}})
	start, c := d.Dropped(), udpTo(t, s, far4, 4433)
	for range 100 {
		c.Write([]byte("question"))
	}
	n := d.Dropped()
	if n-start < 80 || n-start > 100 {
		t.Errorf("%d of 100 dropped", n-start)
	}
	if n := testing.AllocsPerRun(100, func() { d.Dropped() }); n != 0 {
		t.Errorf("%v allocations a question", n)
	}
	c.Write([]byte("question"))
	d.Close()
	if got := d.Dropped(); got != n+1 {
		t.Errorf("%d dropped, one more than %d; %d after Close", n+1, n, got)
	}
}

// Another program deletes the device, or takes it down for a while.
func TestKernelDeviceGone(t *testing.T) {
	s := nstest.NewSpace(t)
	d := openIn(t, s, DeviceConfig{Name: "b4tun0", Addrs: []netip.Prefix{net4}})
	s.Do(func() { nstest.Down(t, "b4tun0") })
	if err := d.Write(Header{}, sample("v4", packet.UDP, 9)); !errors.Is(err, unix.EIO) {
		t.Errorf("write while down: %v", err)
	}
	s.Do(func() { nstest.Up(t, "b4tun0") })
	var h Header
	c, buf := udpTo(t, s, far4, 4433), make([]byte, maxPacket)
	c.Write([]byte("question"))
	next(t, d, &h, buf)

	time.AfterFunc(20*time.Millisecond, func() {
		s.Do(func() {
			c, err := rtnl.Dial()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			body := make([]byte, unix.SizeofIfInfomsg)
			binary.NativeEndian.PutUint32(body[4:], uint32(d.Index()))
			if err := c.Do(unix.RTM_DELLINK, 0, body); err != nil {
				t.Error(err)
			}
		})
	})
	for start := time.Now(); ; {
		n, err := d.Read(time.Minute, &h, buf)
		if time.Since(start) > 10*time.Second {
			t.Fatal("the reader was not told")
		}
		if n == 0 && err == nil || err == nil && chatter(buf[:n]) {
			continue
		}
		if !errors.Is(err, unix.EBADFD) {
			t.Errorf("read: %v", err)
		}
		break
	}
}
