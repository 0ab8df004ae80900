package pipeline

import (
	"bytes"
	"testing"
)

// What waits when the engine is closed leaves by its rule, and another engine that
// goes on with the pipeline treats the rest of the message: wherever the name is,
// it is never shown.
func TestDrainForgetsNothing(t *testing.T) {
	for _, last := range []bool{false, true} {
		r := newRig(t)
		b := hello(host, 1800, last)
		cut := bytes.Index(b, []byte(host)) - 1
		if !last {
			cut += len(host) + 100
		}
		r.send(0, b[:cut], 1)
		r.out.Reset()
		r.p.Drain(&r.out)
		r.collect()
		if len(r.wire) == 0 {
			t.Fatal("nothing left")
		}
		r.p.Use(&Config{Rules: []Rule{{Name: "all", For: treat(Desync, strategy(t, "split(midsld)"))}}})
		r.send(cut, b[cut:], 1)
		if r.reads(b); r.shown() {
			t.Errorf("the name is shown, last %t", last)
		}
	}
}
