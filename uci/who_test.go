package uci

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// What a list says twice, in whatever way, counts once.
func TestWho(t *testing.T) {
	c, warnings, err := decode(t, `
config rule tv
	list mac '00:11:22:AA:BB:CC'
	list mac '00-11-22-aa-bb-cc'
	list source '192.168.1.9/24'
	list source '192.168.1.0/24'
	list source 'fd00:0::1'
	list source 'fd00::1/128'
	list interface 'guest'
	list interface 'guest'
	list port '8443'
	list port '443'
	list port '8443'
`)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Rules[0]
	const want = "[[0 17 34 170 187 204]] [192.168.1.0/24 fd00::1/128] [guest] [8443 443]"
	if got := fmt.Sprint(r.MACs, r.Sources, r.Interfaces, r.Ports); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	const warned = `[b4:5: rule.tv.source: "192.168.1.9/24": taken for the network 192.168.1.0/24]`
	if got := fmt.Sprint(warnings); got != warned {
		t.Errorf("warnings %s, want %s", got, warned)
	}
}

// FuzzNetwork asks that what is taken is a network as it is compared, and is taken
// again as it is printed.
func FuzzNetwork(f *testing.F) {
	for _, s := range []string{"192.168.1.9/24", "fd00::20", "::/0", "::ffff:1.2.3.4/96", "fe80::1%a", "10.0.0.0/", "1.2.3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseNetwork(text)
		if err != nil {
			return
		}
		if !p.IsValid() || p != p.Masked() || p.Bits() == 0 || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Errorf("%q: %v", text, p)
		}
		if again, err := ParseNetwork(p.String()); err != nil || again != p {
			t.Errorf("%q: printed as %v it is %v, error %v", text, p, again, err)
		}
	})
}

// FuzzMAC asks that what is taken is a device's, and says the same in either
// spelling.
func FuzzMAC(f *testing.F) {
	for _, s := range []string{"00:11:22:aa:bb:cc", "02-11-22-AA-bB-0C", "01:00:5e:00:00:01", "+1:22:33:44:55:66", "00:11:22:aa:bb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mac, err := ParseMAC(text)
		if err != nil {
			return
		}
		if mac[0]&1 != 0 || mac == [6]byte{} {
			t.Errorf("%q: %x", text, mac)
		}
		plain := net.HardwareAddr(mac[:]).String()
		if !strings.EqualFold(strings.ReplaceAll(text, "-", ":"), plain) {
			t.Errorf("%q: taken for %s", text, plain)
		}
		if again, ok := parseMAC(plain); !ok || again != mac {
			t.Errorf("%q: %s is %x", text, plain, again)
		}
	})
}
