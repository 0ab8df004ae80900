package desync

import (
	"slices"
	"testing"
	"time"

	"b4/engine"
)

// Each packet leaves later than the one ahead of it, and of a part that is sent
// again the first leaves at once.
func TestDelay(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		text     string
		from, to int
		want     []time.Duration
	}{
		{"delay(7)", 0, 517, []time.Duration{0}},
		{"split(1, 2) delay(7)", 0, 517, []time.Duration{0, 7 * ms, 14 * ms}},
		{"split(1, 2) delay(7)", 1, 517, []time.Duration{0, 7 * ms}},
		{"split(1, 2) disorder delay(7)", 0, 2, []time.Duration{0, 7 * ms}},
		{"split(1, 2) delay(7)", 2, 3, []time.Duration{0}},
		{"split(1) delay(7) dup(1)", 0, 517, []time.Duration{0, 0, 7 * ms, 7 * ms}},
		{"split(1) dup(1) delay(7)", 0, 517, []time.Duration{0, 7 * ms, 14 * ms, 21 * ms}},
		{"split(100) delay(7) ipfrag(48)", 0, 517, []time.Duration{0, 0, 7 * ms, 7 * ms}},
		{"fake(badsum, repeat=3) delay(1)", 0, 517, []time.Duration{0, ms, 2 * ms, 3 * ms}},
		{"fake(badsum, repeat=7) delay(200)", 0, 517, []time.Duration{0, 200 * ms, 400 * ms, 600 * ms, 800 * ms, maxDelayed, maxDelayed, maxDelayed}},
	}
	for _, tt := range tests {
		e := env(t, false, 517)
		var p Plan
		var out engine.Batch
		if err := mustParse(t, tt.text).Plan(&p, e); err != nil {
			t.Fatal(err)
		}
		p.Emit(&out, engine.Meta{}, e, tt.from, tt.to)
		var got []time.Duration
		for i := range out.Len() {
			got = append(got, out.At(i).After)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s, bytes %d to %d: %v, want %v", tt.text, tt.from, tt.to, got, tt.want)
		}
	}
}
