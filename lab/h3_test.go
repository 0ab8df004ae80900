package lab

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Each of these opens what it opens in the model (docs/MATRIX.md).
func TestQUICOpens(t *testing.T) {
	t.Parallel()
	both := []Hello{Small, PostQuantum}
	openings(t, "nfqueue", []opening{
		{"tspu-quic22: leaves fragments", QUIC, both, []string{"ipfrag(32)"}},
		{"tspu-quic25: leaves fragments", QUIC, both, []string{"ipfrag(32)", "split(midsld) disorder ipfrag(32)"}},
		{"tspu-quic25: frames in order", QUIC, both, []string{"split(midsld) disorder", "fake(random) split(midsld) disorder"}},
		{"gfw-quic", QUIC, both, []string{
			"split(midsld) disorder", "fake", "fake(sni=www.allowed.example)", "fake(clone)", "fake(random)", "fake(zero)",
			"fake(clone, ttl=auto)", "fake(badsum)",
		}},
		{"gfw-quic: one frame", QUIC, both, []string{"split(midsld)", "pad(1400) split(midsld)", "split(midsld) udplen(40)"}},
		{"kz", QUIC, both, []string{"ipfrag(32)", "ipfrag(8) ipid(rnd)"}},
	})
}

// However much a QUIC connection carries, only its handshake comes to b4d. What the
// kernel counts as opened are SYNs, and it has none.
func TestQUICInKernel(t *testing.T) {
	l := build(t, Options{})
	d := launchB4D(t, l, treated("nfqueue", QUIC, "split(midsld) disorder"))
	const most = 12
	askers(t, func(t *testing.T, r Request) {
		r.Proto = QUIC
		for _, r.Hello = range []Hello{Small, PostQuantum} {
			size := int64(4 << 20)
			if r.Hello == PostQuantum && !r.Router && !r.V6 {
				size = 64 << 20
			}
			few(t, d, fmt.Sprintf("%v hello, twice", r.Hello), most, 0, func() error {
				return errors.Join(l.Download(r, size), send(l, r, 1<<20))
			})
		}
	})
}

// A rule by name finds the name wherever it is in a hello: of either version, over
// one datagram or two, and cut and shuffled as quic-go does it.
func TestQUICByName(t *testing.T) {
	l := build(t, Options{})
	launchB4D(t, l, ruled("nfqueue", "list domain '"+Blocked+"'", "option quic 'reject'"))
	for _, whole := range []string{"true", "false"} {
		t.Setenv(unscrambled, whole)
		families(t, func(t *testing.T, v6 bool) {
			for _, hello := range []Hello{Small, PostQuantum} {
				for _, site := range []Site{Modern, Retry} {
					for _, v2 := range []bool{false, true} {
						r := Request{Host: Blocked, Site: site, Proto: QUIC, V2: v2, V6: v6, Hello: hello}
						if err := l.becomes(r, refused); err != nil {
							t.Errorf("%v hello, version 2 %t, as it is %s: %v", hello, v2, whole, err)
						}
						r.Host = Allowed
						if err := l.becomes(r, opens); err != nil {
							t.Errorf("%v hello, version 2 %t, as it is %s: %s: %v", hello, v2, whole, r.Host, err)
						}
					}
				}
			}
		})
	}
}

// A connection that b4d has treated goes on when b4d is killed, and new ones open.
func TestQUICKilled(t *testing.T) {
	l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
	families(t, func(t *testing.T, v6 bool) {
		d := launchB4D(t, l, treated("nfqueue", QUIC, "fake(ttl=auto) split(midsld) disorder"))
		const size = 16 << 20
		var gone error
		hit := false
		r := Request{Host: Blocked, Proto: QUIC, V6: v6, Hello: PostQuantum, Path: fmt.Sprintf("/bytes?n=%d", size)}
		r.Pace = func(n int64) {
			if !hit && n > size/4 {
				hit, gone = true, d.Kill()
			}
		}
		res, err := l.Get(r)
		if err = errors.Join(err, gone); err != nil || res.Sum != SumOf(size) || !hit {
			t.Errorf("%d bytes, killed %t: %v", res.N, hit, err)
		}
		if err := l.Open(Request{Host: Blocked, Proto: QUIC, V6: v6}); err != nil {
			t.Error("afterwards:", err)
		}
	})
}

// Where masquerading picks ports at random the datagrams of a hello would leave
// from a port each: QUIC is left alone then, until the firewall is another one.
func TestQUICScattered(t *testing.T) {
	l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true, Random: true}})
	d := launchB4D(t, l, treated("nfqueue", QUIC, "split(midsld) disorder"))
	families(t, func(t *testing.T, v6 bool) {
		for _, hello := range []Hello{Small, PostQuantum} {
			if err := l.Open(Request{Host: Blocked, Proto: QUIC, V6: v6, Hello: hello}); err != nil {
				t.Errorf("%v hello: %v", hello, err)
			}
		}
	})
	s := mustStatus(t, d)
	if n := s.Engine.Counters.Read; n != 0 {
		t.Errorf("%d packets came to user space", n)
	}
	if health := strings.Join(Sentences(s.Health), " "); !strings.Contains(health, "at random") {
		t.Errorf("status says %q", s.Health)
	}
	if err := l.SetFirewall(House); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the usual firewall", func() error {
		return l.CheckOpen(variant(t, "gfw-quic"), Request{Host: Blocked, Proto: QUIC, Timeout: verdictLimit})
	})
}
