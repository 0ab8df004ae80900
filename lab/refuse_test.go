package lab

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	atOnce    = 900 * time.Millisecond // a client is told by then: before QUIC asks again (initialPTO)
	notAtOnce = 10 * time.Second       // or at least by then, where the machine has much else to do
	silent    = 500 * time.Millisecond // and waits that long if it is not
)

// errLate is of a client that was told, though not at once.
var errLate = errors.New("not refused at once")

// An outcome is what becomes of a request.
type outcome int

const (
	opens outcome = iota
	refused
	unanswered
)

func (o outcome) String() string { return [...]string{"opens", "is refused", "has no answer"}[o] }

// becomes reports whether want becomes of r: nil, or what does. Who is told late asks
// again: that the machine had much else to do is not the same thrice.
func (l *Lab) becomes(r Request, want outcome) (err error) {
	if want == opens {
		return l.Open(r)
	}
	for range 3 {
		if err = l.denied(r, want); !errors.Is(err, errLate) {
			break
		}
	}
	return err
}

// denied is becomes of what is not to open, asked once.
func (l *Lab) denied(r Request, want outcome) error {
	if r.Timeout = silent; want == refused {
		r.Timeout = notAtOnce
	}
	res, err := l.Get(r)
	told := errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ECONNRESET)
	switch {
	case want == unanswered && r.Router && errors.Is(err, unix.EPERM):
		return nil // the kernel tells its own sockets what it drops
	case err == nil:
		return errors.New("the page came")
	case want == refused && !told:
		return fmt.Errorf("not refused, but after %v: %w", res.Took, err)
	case want == refused && res.Took > l.patience(atOnce):
		return fmt.Errorf("%w, but after %v: %w", errLate, res.Took, err)
	case want == unanswered && (told || res.Took < silent):
		return fmt.Errorf("an answer after %v: %w", res.Took, err)
	}
	return nil
}

// ruled is a configuration with a rule, of some options, ahead of one that lets
// all names pass.
func ruled(engine string, options ...string) string {
	return configure(engine) + "\nconfig rule 'no'\n\toption strategy 'none'\n\t" + strings.Join(options, "\n\t") +
		"\n\nconfig rule 'rest'\n\toption action 'pass'\n\nconfig strategy 'none'\n"
}

// What a rule drops or rejects never comes, by name or for all names; a client
// that is rejected is told at once, also behind NAT.
func TestRefused(t *testing.T) {
	const byName = "list domain '" + Blocked + "'"
	type row struct {
		options         []string
		tls, http, quic outcome
	}
	rows := map[string][]row{
		"nfqueue": {
			{[]string{byName, "option action 'reject'"}, refused, refused, refused},
			{[]string{byName, "option action 'drop'"}, unanswered, unanswered, unanswered},
			{[]string{byName, "option quic 'reject'"}, opens, opens, refused},
			{[]string{byName, "option quic 'drop'"}, opens, opens, unanswered},
			{[]string{byName, "option action 'reject'", "option quic 'pass'"}, refused, refused, opens},
			{[]string{"option quic 'reject'"}, opens, opens, refused},
			{[]string{"option quic 'drop'"}, opens, opens, unanswered},
			{[]string{"option action 'reject'"}, refused, refused, refused},
		},
		"tun": {
			{[]string{byName, "option action 'reject'"}, refused, refused, opens},
			{[]string{byName, "option action 'drop'"}, unanswered, unanswered, opens},
			{[]string{"option quic 'reject'"}, opens, opens, refused},
			{[]string{"option quic 'drop'"}, opens, opens, unanswered},
		},
	}
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		d := launchB4D(t, l, configure(engine))
		for _, row := range rows[engine] {
			if err := d.Reload(ruled(engine, row.options...)); err != nil {
				t.Fatal(err)
			}
			var all []Request
			for i := range 16 {
				all = append(all, Request{Host: []string{Blocked, Allowed}[i&1], Router: i&2 != 0, V6: i&4 != 0, Hello: Hello(i >> 3)})
			}
			together(all, func(r Request) {
				for proto, want := range map[Proto]outcome{TLS: row.tls, HTTP: row.http, QUIC: row.quic} {
					if row.options[0] == byName && r.Host == Allowed {
						want = opens
					}
					r.Proto, r.V2 = proto, proto == QUIC && r.Router && r.V6
					if err := l.becomes(r, want); err != nil {
						t.Errorf("%q: %v to %s %v, v6 %t, router %t, %v hello: %v", row.options, proto, r.Host, want, r.V6, r.Router, r.Hello, err)
					}
				}
			})
		}
	})
}

// together calls f for all requests at once.
func together(rs []Request, f func(Request)) {
	done := make(chan struct{})
	for _, r := range rs {
		go func() { f(r); done <- struct{}{} }()
	}
	for range rs {
		<-done
	}
}

// What engine tun cannot do with QUIC is refused with its place.
func TestTunRefusesQUIC(t *testing.T) {
	l := build(t, Options{})
	d := launchB4D(t, l, configure("tun"))
	for text, place := range map[string]string{
		treated("tun", QUIC, "ipfrag(32)"):                                   "strategy.default.quic: ",
		ruled("tun", "list domain '"+Blocked+"'", "option quic 'reject'"):    "rule.no.quic: ",
		treated("tun", HTTP, "fake(ttl=auto)"):                               "strategy.default.http: ",
		treated("nfqueue", QUIC, "hostcase"):                                 "hostcase",
		treated("nfqueue", HTTP, "pad(1300)"):                                "pad",
		ruled("nfqueue", "list domain '"+Blocked+"'", "option quic 'throw'"): "rule.no.quic",
	} {
		if err := d.Reload(text); err == nil || !strings.Contains(err.Error(), place) {
			t.Errorf("%s\nis not refused for %q: %v", text, place, err)
		}
	}
}
