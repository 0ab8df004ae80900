package matrix

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write docs/MATRIX.md anew")

// The document says what the matrix is now.
func TestDocument(t *testing.T) {
	const path = "../../docs/MATRIX.md"
	got, err := Markdown()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale: go test ./matrix -update", path)
	}
}
