package lab

import (
	"context"
	"testing"
)

// fullParsers is a configuration in which every message is read.
const fullParsers = `
config strategy 'default'
	option tls 'split(midsld) disorder'
	option http 'split(host+1)'
	option quic 'split(midsld)'
`

// Whatever clients throw at it, b4d's memory has a bound, sites open meanwhile,
// and it is well afterwards. A queue shows b4d all of it; to a TUN only connections
// are led whose server has answered.
func TestAttacks(t *testing.T) {
	t.Parallel()
	const (
		packets = 10000    // of each kind: more than b4d remembers connections
		bound   = 24 << 10 // KiB, of main.max_flows 4096
	)
	l := build(t, Options{})
	if err := l.Brace(); err != nil {
		t.Fatal(err)
	}
	d := launchB4D(t, l, configure("nfqueue")+fullParsers)
	read := mustStatus(t, d).Engine.Counters.Read
	for _, a := range Attacks {
		ctx, cancel := context.WithCancel(context.Background())
		over := make(chan error, 1)
		go func() {
			defer cancel()
			_, err := l.Attack(ctx, a, 0, packets, 0)
			over <- err
		}()
		for ctx.Err() == nil {
			for _, v6 := range []bool{false, true} {
				if err := l.Open(Request{Host: Allowed, V6: v6}); err != nil {
					t.Errorf("%s, v6 %t: %v", a.Name, v6, err)
				}
			}
		}
		if err := <-over; err != nil {
			t.Fatal(err)
		}
	}
	if n := mustStatus(t, d).Engine.Counters.Read - read; n < packets*uint64(len(Attacks)-1)/2 {
		t.Errorf("b4d was shown %d packets: that is no attack", n)
	}
	if kib, err := d.Peak(); err != nil || kib > bound {
		t.Errorf("b4d took %d KiB, %v", kib, err)
	}
	for _, v6 := range []bool{false, true} {
		if err := l.CheckOpen(profile(t), Request{Host: Blocked, V6: v6}); err != nil {
			t.Error(err)
		}
	}
}
