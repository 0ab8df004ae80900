package fw

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"b4/nstest"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What a policy of IPsec wraps is left alone from its SYN on; the same client's other
// connections are not.
func TestIPsec(t *testing.T) {
	if !nativeAligned {
		t.Skip("the kernel's structures are laid out otherwise for this program")
	}
	for _, tt := range []struct {
		name string
		edit func(*Config)
		want Counters // of what is not wrapped
		left Counters // and of what is
	}{
		{"queue", func(*Config) {}, Counters{Opened: 1, Bare: 1, Queued: 1}, Counters{}},
		{"queue, all", func(c *Config) { c.All, c.Bound = true, 0 }, Counters{Opened: 1, Queued: 2}, Counters{}},
		{"TUN", func(c *Config) { toTUN(c, "", "") }, Counters{Opened: 1, Bare: 1, Queued: 1}, Counters{Opened: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nstest.Enter(t)
			r, c := newRouter(t), mustOpen(t)
			mustApply(t, c, mustPlan(t, func(c *Config) {
				c.SkipIPsec = true
				tt.edit(c)
			}), "wan0")
			for _, v6 := range []bool{false, true} {
				wrap(t, v6)
				if f, err := Probe(); err != nil || !f.IPsec {
					t.Errorf("rules cannot see that: %+v, %v", f, err)
				}
				for i, other := range []bool{false, true} {
					f := newFlow(v6, 42000+uint16(i), 443)
					leave, want := r.wrapped, tt.left
					if other {
						f.dst = netip.AddrPortFrom(f.dst.Addr().Next(), 443)
						leave, want = r.plain, tt.want
					}
					before := r.counters(c)
					leave(f.out(syn, 0))
					r.arrive(r.wan, r.lan, f.back(syn|ack, 0))
					leave(f.out(ack, 0))
					leave(f.out(psh|ack, 300))
					got := r.counters(c).minus(before)
					if got.Replies = 0; got != want {
						t.Errorf("v6 %t, to another %t: got %+v, want %+v", v6, other, got, want)
					}
				}
			}
		})
	}
}

func (r *router) plain(p []byte) { r.t.Helper(); r.arrive(r.lan, r.wan, p) }

// wrapped has p leave inside of ESP.
func (r *router) wrapped(p []byte) {
	r.t.Helper()
	if _, err := r.lan.Write(p); err != nil {
		r.t.Fatal(err)
	}
	r.wan.SetReadDeadline(time.Now().Add(soon))
	for buf := make([]byte, 2048); ; {
		n, err := r.wan.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.t.Fatal("a packet did not leave inside of ESP")
		case err != nil:
			r.t.Fatal(err)
		case protocol(buf[:n]) == unix.IPPROTO_ESP:
			return
		case protocol(buf[:n]) == unix.IPPROTO_TCP:
			r.t.Fatal("a packet left as it is")
		}
	}
}

// Of linux/xfrm.h.
const (
	xfrmNewState  = 0x10
	xfrmNewPolicy = 0x13
	xfrmAuth      = 1
	xfrmCrypt     = 2
	xfrmTemplate  = 5
	xfrmTunnel    = 1
	xfrmOut       = 1
)

// nativeAligned tells that 64-bit numbers are aligned as in the kernel: a program
// for 386 under a 64-bit kernel would need its own structures.
const nativeAligned = runtime.GOARCH != "386"

// wrap has the kernel wrap what goes to newFlow's server, with ciphers that do
// nothing, to a gateway next to the router.
func wrap(t *testing.T, v6 bool) {
	t.Helper()
	family, bits, local, gateway := uint16(unix.AF_INET), byte(32), wanAddr4, netip.MustParseAddr("192.0.2.9")
	if v6 {
		family, bits, local, gateway = unix.AF_INET6, 128, wanAddr6, netip.MustParseAddr("fd00:b::9")
	}
	const reqid = 4
	id := func() []byte { // struct xfrm_id
		b := append(xfrmAddress(gateway), 0, 0, 16, 0)
		return append(b, unix.IPPROTO_ESP, 0, 0, 0)
	}
	endless := func() (b []byte) { // struct xfrm_lifetime_cfg and xfrm_lifetime_cur
		for range 4 {
			b = binary.NativeEndian.AppendUint64(b, ^uint64(0))
		}
		return append(b, make([]byte, 32+32)...)
	}
	state := append(make([]byte, 56), id()...)
	state = append(append(state, xfrmAddress(local)...), endless()...)
	state = append(state, make([]byte, 16)...)
	state = binary.NativeEndian.AppendUint32(state, reqid)
	state = binary.NativeEndian.AppendUint16(state, family)
	state = append(state, xfrmTunnel, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	tellIPsec(t, xfrmNewState, state, netlink.Attribute{Type: xfrmAuth, Data: xfrmAlgorithm("digest_null")}, netlink.Attribute{Type: xfrmCrypt, Data: xfrmAlgorithm("ecb(cipher_null)")})

	policy := append(xfrmAddress(newFlow(v6, 1, 443).dst.Addr()), make([]byte, 16+8)...) // struct xfrm_selector
	policy = binary.NativeEndian.AppendUint16(policy, family)
	policy = append(policy, bits, 0, 0, 0, 0, 0)
	policy = append(append(policy, make([]byte, 8)...), endless()...)
	policy = append(policy, make([]byte, 8)...)
	policy = append(policy, xfrmOut, 0, 0, 0, 0, 0, 0, 0)
	template := binary.NativeEndian.AppendUint16(id(), family)
	template = append(append(template, 0, 0), xfrmAddress(local)...)
	template = binary.NativeEndian.AppendUint32(template, reqid)
	template = append(template, xfrmTunnel, 0, 0, 0)
	for range 3 {
		template = binary.NativeEndian.AppendUint32(template, ^uint32(0))
	}
	tellIPsec(t, xfrmNewPolicy, policy, netlink.Attribute{Type: xfrmTemplate, Data: template})
}

// xfrmAddress is xfrm_address_t.
func xfrmAddress(a netip.Addr) []byte { return append(a.AsSlice(), make([]byte, 16-a.BitLen()/8)...) }

// xfrmAlgorithm is struct xfrm_algo without a key.
func xfrmAlgorithm(name string) []byte { return append([]byte(name), make([]byte, 64+4-len(name))...) }

// tellIPsec changes what IPsec does. A kernel without it skips the test.
func tellIPsec(t *testing.T, typ netlink.HeaderType, body []byte, attrs ...netlink.Attribute) {
	t.Helper()
	c, err := netlink.Dial(unix.NETLINK_XFRM, nil)
	if err != nil {
		t.Skip("no IPsec: ", err)
	}
	defer c.Close()
	more, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl}, Data: append(body, more...),
	})
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOSYS) {
		t.Skip("no IPsec: ", err)
	}
	if err != nil {
		t.Fatalf("message %#x of IPsec: %v", typ, err)
	}
}
