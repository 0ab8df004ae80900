package luciapp

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"b4/openwrt/lmo"
)

const potPath = "po/templates/b4.pot"

var update = flag.Bool("update", false, "write the template for translators anew, and put its texts into each language")

// A word is a text to translate, as the template has it.
type word struct {
	context, text, plural string
}

// words are all texts, with the files that have them.
func words(t *testing.T) map[word][]string {
	t.Helper()
	all := map[word][]string{}
	add := func(path string, w word) {
		if !slices.Contains(all[w], path) {
			all[w] = append(all[w], path)
		}
	}
	for _, path := range scripts(t) {
		k := scriptTokens(t, path)
		plain := func(at token, args [][]token, want ...int) []string {
			texts := make([]string, 3)
			for i, arg := range args {
				n := slices.Index(want, i)
				if n < 0 && len(want) == 2 && i == 0 {
					continue // the number of things
				}
				if n < 0 || len(arg) != 1 || arg[0].kind != '\'' {
					t.Errorf("%s:%d: not a plain text that a translator can be given", path, at.line)
					return nil
				}
				texts[n] = strings.ReplaceAll(arg[0].text, `\'`, `'`)
			}
			return texts
		}
		calls(k, "_", func(at token, args [][]token) {
			if s := plain(at, args, 0, 1); s != nil {
				add(path, word{context: s[1], text: s[0]})
			}
		})
		calls(k, "N_", func(at token, args [][]token) {
			if s := plain(at, args, 1, 2); s != nil {
				add(path, word{text: s[0], plural: s[1]})
			}
		})
	}
	for path, key := range map[string]string{aclPath: "description", menuPath: "title"} {
		for _, m := range regexp.MustCompile(`"`+key+`": "([^"\\]+)"`).FindAllStringSubmatch(read(t, path), -1) {
			add(path, word{text: m[1]})
		}
	}
	return all
}

// template is what a translator begins with.
func template(t *testing.T) []lmo.Message {
	all := words(t)
	pot := []lmo.Message{{Text: []string{"Content-Type: text/plain; charset=UTF-8\n"}}}
	for _, w := range slices.SortedFunc(maps.Keys(all), func(a, b word) int {
		return strings.Compare(a.text+"\x00"+a.context, b.text+"\x00"+b.context)
	}) {
		m := lmo.Message{Context: w.context, ID: w.text, Plural: w.plural, Text: []string{""}}
		if w.plural != "" {
			m.Text = []string{"", ""}
		}
		for _, path := range all[w] {
			m.Places = append(m.Places, "applications/luci-app-b4/"+path)
		}
		pot = append(pot, m)
	}
	return pot
}

// LuCI's pages look a text up with its blanks made one; ucode's and theirs must be
// the same, and without what po2lmo reads in another way.
func TestTexts(t *testing.T) {
	for w := range words(t) {
		for _, s := range []string{w.context, w.text, w.plural} {
			if s != strings.Join(strings.Fields(s), " ") || strings.Contains(s, `\`) || s != strings.ToValidUTF8(s, "") {
				t.Errorf("cannot be looked up: %q", s)
			}
		}
	}
}

// The template has every text. It says which files have it, not where in them, so
// that it changes only with texts.
func TestTemplate(t *testing.T) {
	pot := lmo.Format(template(t))
	if *update {
		write(t, potPath, pot)
	}
	if read(t, potPath) != string(pot) {
		t.Errorf("%s is stale: go test ./luci-app -update", potPath)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
