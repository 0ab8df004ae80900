package daemon

import (
	"strings"
	"testing"
)

const treatQUIC = enabled + "config strategy 'q'\n\toption quic 'fake(ttl=3)'\nconfig rule 'a'\n\tlist domain 'a.example'\n\toption strategy 'q'\n"

// The firewall is followed with a queue too: what it does to the ports of
// datagrams decides whether QUIC is touched.
func TestScatterIsFollowed(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), treatQUIC)
	r.eventually("QUIC is shown", func() bool {
		return strings.Contains(r.rules(), "goto initial") && !strings.Contains(r.rules(), "nfproto")
	})
	r.set(func() { r.scatter4 = true })
	r.fwNews <- struct{}{}
	r.eventually("IPv4 is left alone", func() bool { return strings.Contains(r.rules(), "meta nfproto ipv6") })
	if h := r.health(); !strings.Contains(h, "QUIC over IPv4 is left alone") {
		t.Error(h)
	}
	r.set(func() { r.scatter4 = false })
	r.fwNews <- struct{}{}
	r.eventually("both again", func() bool { return !strings.Contains(r.rules(), "nfproto") && r.health() == "" })

	// Who treats no QUIC does not ask.
	r.write(enabled)
	r.set(func() { r.fail["scatters"] = true })
	r.hangup()
	r.eventually("TLS alone", func() bool { return !strings.Contains(r.rules(), "initial") && r.health() == "" })
}
