package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// b4d fits on routers of 64 MB, with long lists of names too, and also while a list is
// read anew with the old one in force.
func TestListMemory(t *testing.T) {
	for _, tt := range []struct {
		names           int
		started, reload int64 // MiB that b4d may have had at most: at its start, and after reloads
	}{
		{0, 10, 12},
		{100_000, 14, 18},
		{500_000, 25, 38},
	} {
		t.Run(fmt.Sprintf("%d names", tt.names), func(t *testing.T) {
			l := build(t, Options{})
			config := configure("nfqueue")
			if tt.names > 0 {
				config += "\nconfig rule 'listed'\n\tlist domain_file '" + list(t, tt.names) + "'\n"
			}
			d := launchB4D(t, l, config)
			peak := func(limit int64, when string) {
				t.Helper()
				if kib, err := d.Peak(); err != nil || kib > limit<<10 {
					t.Errorf("%s: b4d had %d KiB, error %v; want %d at most", when, kib, err, limit<<10)
				}
			}
			peak(tt.started, "started")
			for range 3 {
				if err := d.Reload(config); err != nil {
					t.Fatal(err)
				}
			}
			peak(tt.reload, "reloaded")
		})
	}
}

// list is a file of n names as lists have them.
func list(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "names.txt")
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "site%d-%x.example\n", i, uint32(i)*2654435761>>20)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
