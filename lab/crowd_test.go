package lab

import (
	"net/netip"
	"testing"
)

// No two connections of a crowd are one to conntrack, masqueraded or not.
func TestCrowdEnds(t *testing.T) {
	type pair struct{ src, dst netip.AddrPort }
	seen := map[pair]bool{}
	const n = 200_000
	for i := range n {
		src, dst := crowdEnds(i)
		seen[pair{src, dst}] = true
	}
	if len(seen) != n {
		t.Errorf("%d connections of %d", len(seen), n)
	}
}
