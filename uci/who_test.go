package uci

import (
	"fmt"
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
