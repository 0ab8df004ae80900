package fw

import (
	"flag"
	"sync"
	"testing"
)

// Tests in parallel wait more than they work: for a timeout, or for the kernel, which
// takes a while over each change of the rules. So there may be more of them at a
// time than the machine has processors.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", "4")
	}
	m.Run()
}

// probed is what Probe says, asked once: the kernel takes 0.2 s to roll all its
// questions back, and no namespace has another answer.
var probed = sync.OnceValues(Probe)

// mustPlan plans c for the queue form of this kernel.
func mustPlan(t testing.TB, edit func(*Config)) *Ruleset {
	t.Helper()
	f, err := probed()
	if err != nil {
		t.Fatal(err)
	}
	if f.Queue == None && f.Missing != "kmod-nft-queue" {
		t.Fatalf("the probe misses %s, which is no reason to skip", f.Missing)
	}
	if f.Queue == None {
		t.Skip("this kernel cannot queue")
	}
	c := config(t, f.Queue)
	if edit != nil {
		edit(&c)
	}
	r, err := Plan(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
