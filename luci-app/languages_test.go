package luciapp

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"b4/openwrt/lmo"
)

// tongues are the languages that the app speaks, by their directories below po, with the
// rule that chooses a plural form (as LuCI's own catalogues have it).
var tongues = map[string]string{
	"fa":      "nplurals=2; plural=n > 1;",
	"ru":      "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2);",
	"tr":      "nplurals=1; plural=0;",
	"zh_Hans": "nplurals=1; plural=0;",
}

// header is the first message of a language's catalogue.
func header(lang string) lmo.Message {
	return lmo.Message{Text: []string{"Project-Id-Version: luci-app-b4\nLanguage: " + lang + "\n" +
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n" +
		"Plural-Forms: " + tongues[lang] + "\n"}}
}

// catalogue is what a language has, by what is translated.
func catalogue(t *testing.T, lang string) ([]lmo.Message, map[word]lmo.Message) {
	t.Helper()
	path := "po/" + lang + "/b4.po"
	all, err := lmo.Parse([]byte(read(t, path)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	by := map[word]lmo.Message{}
	for _, m := range all {
		by[word{m.Context, m.ID, m.Plural}] = m
	}
	return all, by
}

// Each language has every text of the template and no other, in its order.
func TestLanguages(t *testing.T) {
	for lang := range tongues {
		path := "po/" + lang + "/b4.po"
		_, by := catalogue(t, lang)
		want := template(t)
		want[0] = header(lang)
		for i := range want[1:] {
			m := &want[i+1]
			old := by[word{m.Context, m.ID, m.Plural}]
			if old.Fuzzy || len(old.Text) == 0 {
				t.Errorf("%s: %q is not translated", path, m.ID)
				m.Fuzzy = old.Fuzzy
			}
			if len(old.Text) > 0 {
				m.Text = old.Text
			}
			for _, text := range m.Text {
				if err := faithful(m.ID, text); err != nil {
					t.Errorf("%s: %q: %v", path, m.ID, err)
				}
			}
		}
		if *update {
			write(t, path, lmo.Format(want))
		}
		if !bytes.Equal(lmo.Format(want), []byte(read(t, path))) {
			t.Errorf("%s has not the order or the texts of the template: go test ./luci-app -update", path)
		}
		if _, err := lmo.Encode(want); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	dirs, err := filepath.Glob("po/*")
	if err != nil || len(dirs) != len(tongues)+1 {
		t.Errorf("tongues %q, and templates: %v", dirs, err)
	}
}

var (
	// placeholder is what LuCI's format replaces, by its place in the text alone.
	placeholder = regexp.MustCompile(`%(?:'.|0)?-?\d*(?:\.\d+)?[bcdufosxXqhjtm%]`)

	// literal is what is the same in all tongues: paths, steps of strategies,
	// names of hosts and files.
	literal = regexp.MustCompile(`/[a-z][\w./-]*\w|\b\w+\([\w, =.]*\)|\b\w+\.(?:com|org|example|txt)\b`)
)

// ends are the signs that a sentence of English may end with, and what stands for
// each in the tongues of the app.
var ends = map[string]string{".": ".。", "?": "?？؟", ":": ":：", "…": "…"}

// faithful says what a translation lacks.
func faithful(text, translated string) error {
	if translated == "" {
		return fmt.Errorf("not translated")
	}
	if strings.TrimSpace(translated) != translated || strings.ContainsAny(translated, "\n\t\\") {
		return fmt.Errorf("blanks or a backslash in %q", translated)
	}
	for _, p := range []*regexp.Regexp{placeholder, literal} {
		want, got := p.FindAllString(text, -1), p.FindAllString(translated, -1)
		if p == literal {
			slices.Sort(want)
			slices.Sort(got)
		}
		if !slices.Equal(want, got) {
			return fmt.Errorf("%q has %q, want %q", translated, got, want)
		}
	}
	for end, want := range ends {
		if strings.HasSuffix(text, end) != strings.ContainsAny(lastRune(translated), want) {
			return fmt.Errorf("%q ends in another way", translated)
		}
	}
	return nil
}

func lastRune(s string) string {
	r := []rune(s)
	return string(r[len(r)-1])
}

func TestFaithful(t *testing.T) {
	for _, ok := range [][2]string{
		{"%d of %s.", "%d из %s."}, {"Off", "关闭"}, {"How?", "چگونه؟"}, {"100%% of /etc/b4/never.txt", "/etc/b4/never.txt 100%%"},
		{"Such as split(1), disorder.", "如 split(1)、disorder。"}, {"At %5.2f", "%5.2f"},
	} {
		if err := faithful(ok[0], ok[1]); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range [][2]string{
		{"a", ""}, {"a", " a"}, {"a", "b\n"}, {"%d of %s", "%s of %d"}, {"%d", "d"}, {"%d", "%s"}, {"a", "%s"},
		{"a.", "b"}, {"a", "b。"}, {"a?", "b."}, {"see /etc/b4", "see etc/b4"}, {"split(1)", "split(2)"}, {"youtube.com", "youtube"},
	} {
		if err := faithful(bad[0], bad[1]); err == nil {
			t.Errorf("%q for %q", bad[1], bad[0])
		}
	}
}
