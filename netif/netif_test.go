package netif

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// router has a PPPoE line that both families use, a tunnel with IPv6 only, an
// LTE stick without routes, and a port named like netifd's interface above it.
var (
	router = kernel{
		links: []link{
			{index: 1, name: "lo", loopback: true}, {index: 2, name: "wan"}, {index: 3, name: "br-lan"}, {index: 4, name: "pppoe-wan"},
			{index: 5, name: "tun6"}, {index: 6, name: "wwan0"}, {index: 7, name: "eth2"},
		},
		routes: []route{
			{false, mainTable, 20, 7}, {false, mainTable, 10, 4}, {true, mainTable, 512, 4},
			{true, mainTable, 512, 5}, {false, 100, 0, 3}, {true, mainTable, 1, 1}, {true, mainTable, 1, 99},
		},
	}
	ifaces = map[string]iface{
		"wan":   {true, "pppoe-wan", "wan"},
		"wan6":  {true, "pppoe-wan", "pppoe-wan"},
		"tun":   {true, "tun6", ""},
		"old":   {true, "", "eth2"},
		"lte":   {false, "", "wwan0"},
		"bare":  {true, "", ""},
		"jail":  {true, "eth9", "eth9"},
		"plain": {true, "wwan0", "wwan0"},
	}
)

func TestResolve(t *testing.T) {
	tests := []struct {
		names  []string
		ifaces map[string]iface
		want   string
		err    string
	}{
		{[]string{"wan"}, ifaces, "pppoe-wan (v4, v6)", ""},
		{[]string{"wan", "wan6"}, ifaces, "pppoe-wan (v4, v6)", ""},
		{[]string{"wan6", "tun"}, ifaces, "pppoe-wan (v4, v6), tun6 (v6)", ""},
		{[]string{"old", "wan"}, ifaces, "eth2 (v4), pppoe-wan (v4, v6)", ""},
		{[]string{"eth2"}, ifaces, "eth2 (v4)", ""},       // a device netifd has no interface of that name for
		{[]string{"br-lan"}, ifaces, "br-lan (v4)", ""},   // its default route is in a table of its own
		{[]string{"plain"}, ifaces, "wwan0 (v4, v6)", ""}, // no default route tells the family
		{[]string{"lte", "wan"}, ifaces, "pppoe-wan (v4, v6), lte (down)", ""},
		{[]string{"bare"}, ifaces, "bare (down)", ""},
		{[]string{"jail"}, ifaces, "jail (down)", ""},
		{[]string{"wan"}, nil, "wan (v4, v6)", ""}, // no netifd: the port itself
		{[]string{"wan2"}, ifaces, "none", "wan2: neither a netifd interface nor a device"},
		{[]string{"wan2", "eth2", "wan3"}, nil, "eth2 (v4)", "wan2: neither a netifd interface nor a device\nwan3: neither a netifd interface nor a device"},
		{[]string{""}, ifaces, "none", ": neither a netifd interface nor a device"},
	}
	for _, tt := range tests {
		w, err := resolve(tt.names, tt.ifaces, router)
		if w.String() != tt.want {
			t.Errorf("%q: %s, want %s", tt.names, w, tt.want)
		}
		if tt.err == "" && err != nil || tt.err != "" && (!errors.Is(err, ErrUnknown) || err.Error() != tt.err) {
			t.Errorf("%q: error %v, want %q", tt.names, err, tt.err)
		}
	}
}

func TestDefaults(t *testing.T) {
	w := router.defaults()
	if want := []string{"pppoe-wan", "eth2"}; !slices.Equal(w.V4, want) {
		t.Errorf("v4 %q, want %q: best metric first, main table only", w.V4, want)
	}
	if want := []string{"pppoe-wan", "tun6"}; !slices.Equal(w.V6, want) {
		t.Errorf("v6 %q, want %q: lowest index first, no loopback, no device that is gone", w.V6, want)
	}
	if want := []string{"pppoe-wan", "eth2", "tun6"}; !slices.Equal(w.Devices(), want) {
		t.Errorf("devices %q, want %q", w.Devices(), want)
	}
	if got := (kernel{}).defaults(); got.String() != "none" || got.Devices() != nil {
		t.Errorf("no routes: %v, %q", got, got.Devices())
	}
}

// Devices must not write into V4's spare room.
func TestDevicesIsItsOwn(t *testing.T) {
	v4 := make([]string, 1, 4)
	v4[0] = "a"
	w := WAN{V4: v4, V6: []string{"b"}}
	w.Devices()
	if got := v4[:2][1]; got != "" {
		t.Errorf("V4's array was written: %q", got)
	}
}

// What netifd is bringing up is seen well within a second, and what never comes up
// costs little.
func TestRetry(t *testing.T) {
	sum := time.Duration(0)
	for n := range 3 {
		sum += Retry(n)
	}
	if sum > 1500*time.Millisecond || Retry(0) > 250*time.Millisecond || Retry(5) != 5*time.Second || Retry(1<<20) != 5*time.Second {
		t.Errorf("after %v, %v, %v; at last %v", Retry(0), Retry(1), Retry(2), Retry(1<<20))
	}
}
