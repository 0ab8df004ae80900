package luciapp

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// No section gets a name that UCI does not take, that another one has, or that b4
// knows by itself.
func TestNames(t *testing.T) {
	const letters = "A name has letters without accents, digits and underscores."
	tests := []struct {
		name  string
		taken bool
		want  string
	}{
		{"a_1", false, ""},
		{"A", false, ""},
		{strings.Repeat("a", 64), false, ""},
		{strings.Repeat("a", 65), false, letters},
		{"a-1", false, letters},
		{"a b", false, letters},
		{"é", false, letters},
		{"", false, letters},
		{"a\n", false, letters},
		{"<b>", false, letters},
		{"a", true, "The name a is taken."},
		{"auto", false, "The name auto stands for the choice that b4 makes by itself."},
		{"main", false, "The name main is taken."},
		{"tun", false, "The name tun is taken."},
		{"default", false, "The name default is taken."},
	}
	var scenes []scene
	for _, tt := range tests {
		scenes = append(scenes, scene{File: "b4/names.js", Expr: fmt.Sprintf("m.wrong(%q, %v)", tt.name, tt.taken)})
	}
	for i, answer := range play(t, scenes) {
		var got string
		if into(t, json.RawMessage(answer), &got); got != tests[i].want {
			t.Errorf("%q: %q, want %q", tests[i].name, got, tests[i].want)
		}
	}
}
