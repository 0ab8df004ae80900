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
		rounds  = 5        // at most: the less is shown to b4d, the busier is the machine
	)
	l := build(t, Options{})
	if err := l.Brace(); err != nil {
		t.Fatal(err)
	}
	d := launchB4D(t, l, configure("nfqueue")+fullParsers)
	read, shown := mustStatus(t, d).Engine.Counters.Read, uint64(0)
	enough := packets * uint64(len(Attacks)-1) / 2
	for round := 0; round < rounds && shown < enough; round++ {
		for _, a := range Attacks {
			besieged(t, l, a, round*packets, (round+1)*packets)
		}
		shown = mustStatus(t, d).Engine.Counters.Read - read
		t.Logf("b4d was shown %d packets", shown)
	}
	if shown < enough {
		t.Errorf("b4d was shown %d packets: that is no attack", shown)
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

// besieged opens sites while the packets from up to to-1 of an attack are sent.
func besieged(t *testing.T, l *Lab, a Attack, from, to int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() {
		defer cancel()
		_, err := l.Attack(ctx, a, from, to, 0)
		over <- err
	}()
	for ctx.Err() == nil {
		for _, v6 := range []bool{false, true} {
			if err := l.Open(Request{Host: Allowed, V6: v6}); err != nil {
				t.Errorf("%s, v6 %t: %v", a.Name, v6, err)
			}
		}
	}
	must(t, <-over)
}
