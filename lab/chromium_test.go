package lab

import (
	"slices"
	"testing"
)

// The browser's own QUIC, whose hello has two datagrams of frames in any order,
// and its plain requests: blocked without b4d, open with it, intact.
func TestChromium(t *testing.T) {
	t.Parallel()
	if !slices.Contains(Hellos(), Chromium) {
		t.Skip("there is no chromium")
	}
	l := build(t, Options{})
	for proto, o := range map[Proto]opening{
		QUIC: {"kz", QUIC, []Hello{Chromium}, []string{"ipfrag(32)"}},
		HTTP: {"tr-2024", HTTP, []Hello{Chromium}, []string{"hostcase split(midsld) disorder"}},
	} {
		p, rs := variant(t, o.censor), o.requests()
		if proto == HTTP {
			rs = rs[:1] // a browser takes its time
		}
		for i, err := range l.CheckAllBlocked(p, rs) {
			if err != nil {
				t.Errorf("%v, v6 %t: %v", proto, rs[i].V6, err)
			}
		}
		d := launchB4D(t, l, treated("nfqueue", proto, o.strategies[0]))
		for _, r := range rs {
			if err := l.CheckOpen(p, r); err != nil {
				t.Errorf("%v, v6 %t: %v", proto, r.V6, err)
			}
		}
		if proto == QUIC {
			if err := d.Reload(treated("nfqueue", proto, "fake(ttl=auto) split(1, midsld) disorder pad(1280)")); err != nil {
				t.Fatal(err)
			}
			if err := l.Download(Request{Host: Blocked, Proto: proto, Hello: Chromium}, 4<<20); err != nil {
				t.Error(err)
			}
		}
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}
}
