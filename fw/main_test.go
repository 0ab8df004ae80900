package fw

import (
	"flag"
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
