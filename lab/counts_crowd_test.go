package lab

import (
	"fmt"
	"testing"
)

// A connection costs no more beside many others than alone, also when b4d knows as
// many as it may, and one has to go for each that comes.
func TestCountsBesideOthers(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		c := newCounter(t, engine)
		others, err := c.lab.NewCrowd()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { others.Close() })
		for _, n := range []int{1_000, 20_000} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				if err := others.Grow(true, n); err != nil {
					t.Fatal(err)
				}
				for _, i := range []int{0, len(loads) - 1} { // those whose packets come alone, or together
					c.check(t, false, i, allowances[engine][loads[i].name])
				}
			})
		}
	})
}
