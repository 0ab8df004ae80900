package daemon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/control"
	"b4/fw"
	"b4/nstest"
	"b4/route"
	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// A stand is a core with a TUN on the real kernel, before wan0.
type stand struct {
	*testing.T
	*core
	nl   *rtnl.Conn
	set  *settings
	what scope
}

func newStand(t *testing.T) *stand {
	t.Helper()
	st := &stand{T: t, what: scope{devices: uplinks(t, "wan0").Devices()}, set: configured(t, tunEnabled)}
	var err error
	if st.nl, err = rtnl.Dial(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.nl.Close() })
	if st.core, err = startCore(linux{}, st.set, st.what, nil, quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.stop(); err != nil {
			t.Error(err)
		}
	})
	st.wants("at the start", "IPv4 routed as it is; IPv6 routed as it is")
	for usable := false; !usable; time.Sleep(time.Millisecond) { // the kernel brings the route of an IPv6 address later
		for text := range census(t) {
			usable = usable || strings.HasPrefix(text, "route") && strings.Contains(text, "fd623400000000000000000000000001")
		}
	}
	return st
}

// wants aligns, and asks for the uplink in words.
func (st *stand) wants(when, words string) {
	st.Helper()
	if err := st.align(st.set, st.what); err != nil || st.idle != nil {
		st.Fatalf("%s: %v, %v", when, err, st.idle)
	}
	if u := st.tunnel.uplink; !strings.Contains(u.String(), words) || len(u.notes) > 0 {
		st.Fatalf("%s: %v %v, want %s", when, &u, u.notes, words)
	}
}

// rests aligns, and asks that nothing is steered, for that reason.
func (st *stand) rests(when string, reason error) {
	st.Helper()
	if err := st.align(st.set, st.what); err != nil || !errors.Is(st.idle, reason) || len(st.watched) > 0 {
		st.Fatalf("%s: %v, %v, watched %v", when, err, st.idle, st.watched)
	}
}

func (st *stand) setMTU(dev string, n uint32) {
	st.Helper()
	nstest.Device(st.T, dev, unix.SIOCSIFMTU, func(r *unix.Ifreq) { r.SetUint32(n) })
}

// Below 1280 bytes the kernel takes IPv6 from both devices, and it comes back
// with the settings of any device, which are the wrong ones here.
func TestKernelMTU(t *testing.T) {
	st := newStand(t)
	st.setMTU("wan0", 1000)
	st.wants("MTU 1000", "MTU 1000; IPv4 routed as it is; IPv6 left alone")
	st.setMTU("wan0", 65535)
	uplink6(t, 0, "wan0")
	st.wants("MTU 65535", "MTU 65535; IPv4 routed as it is; IPv6 routed as it is")
	st.setMTU("b4tun0", 576)
	st.wants("somebody sets the TUN's", "MTU 65535; IPv4 routed as it is; IPv6 routed as it is")
	if got := nstest.Device(t, "b4tun0", unix.SIOCGIFMTU, func(*unix.Ifreq) {}).Uint32(); got != 65535 {
		t.Errorf("MTU %d", got)
	}
}

// A TUN that was down has lost its routes and its IPv6 address.
func TestKernelTunDown(t *testing.T) {
	st := newStand(t)
	ours := func() (routes []string) {
		l, err := st.tunnel.routes.Links()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.Routes {
			if r.Protocol == route.Protocol {
				routes = append(routes, fmt.Sprint(r.Dst, r.Table, r.Index))
			}
		}
		for _, a := range l.Addrs {
			if a.Index == nstest.Index(t, "b4tun0") {
				routes = append(routes, a.Prefix.String())
			}
		}
		slices.Sort(routes)
		return routes
	}
	before := ours()
	nstest.Down(t, "b4tun0")
	st.rests("down", route.ErrNoDevice)
	nstest.Up(t, "b4tun0")
	st.wants("up", "IPv4 routed as it is; IPv6 routed as it is")
	if after := ours(); len(before) != 4 || !slices.Equal(before, after) {
		t.Errorf("%v, before it %v", after, before)
	}
}

// WAN's device goes, and another of its name comes, under another number.
func TestKernelUplinkMadeAnew(t *testing.T) {
	st := newStand(t)
	first := st.tunnel.uplink.index
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(first))
	if err := st.nl.Do(unix.RTM_DELLINK, 0, body); err != nil {
		t.Fatal(err)
	}
	st.rests("gone", errNoUplink)
	uplinkDevice(t, 0, "wan0")
	st.wants("there again", "wan0, MTU 1500; IPv4 routed as it is; IPv6 routed as it is")
	if st.tunnel.uplink.index == first {
		t.Errorf("index %d twice", first)
	}
}

// The TUN's name is another program's; then two b4d at once; and cleanup beside
// one that runs. Each says what is wrong and leaves all as it is.
func TestKernelTaken(t *testing.T) {
	st := newStand(t)
	before := census(t)
	other := configured(t, tunEnabled+"config tun 'tun'\n\toption device 'wan0'\n")
	if c, err := startCore(linux{}, st.set, st.what, nil, quiet); !errors.Is(err, fw.ErrOwned) {
		t.Errorf("a second b4d: %v, %v", c, err)
	}
	same(t, "a second b4d", before)
	if err := Cleanup(filepath.Join(t.TempDir(), "s")); !errors.Is(err, fw.ErrOwned) {
		t.Errorf("cleanup: %v", err)
	}
	same(t, "cleanup beside a running b4d", before)
	socket := filepath.Join(t.TempDir(), "s")
	server, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := Cleanup(socket); !errors.Is(err, control.ErrRunning) || errors.Is(err, fw.ErrOwned) {
		t.Errorf("cleanup: %v", err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := st.stop(); err != nil {
		t.Fatal(err)
	}
	before = census(t)
	_, err = startCore(linux{}, other, st.what, nil, quiet)
	if err == nil || !strings.HasSuffix(err.Error(), "another program holds a device of that name (choose another device): device or resource busy") ||
		!strings.Contains(err.Error(), "b4:5: tun.device: ") {
		t.Errorf("error %v", err)
	}
	same(t, "the name is taken", before)
	if err := Cleanup(filepath.Join(t.TempDir(), "s")); err != nil {
		t.Errorf("cleanup: %v", err)
	}
}

// Check asks the same of the kernel, and leaves nothing.
func TestKernelCheck(t *testing.T) {
	uplinks(t, "wan0")
	before := census(t)
	path := filepath.Join(t.TempDir(), "b4")
	if err := os.WriteFile(path, []byte(tunEnabled+"\tlist wan 'wan0'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Check(Options{Config: path}, &out); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"wan: wan0 (v4, v6)\n", "uplink: wan0, MTU 1500; IPv4 routed as it is; IPv6 routed as it is\n", "default dev b4tun0 table 25140", "table inet b4 {"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	same(t, "check", before)
}
