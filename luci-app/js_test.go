package luciapp

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const scriptsPath = "htdocs/luci-static/resources"

// scripts are the paths of all JavaScript that is installed.
func scripts(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(scriptsPath, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".js" {
			all = append(all, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d scripts, %v", len(all), err)
	}
	return all
}

// A token is a word, a number, a text (without its quotes), a regular expression,
// or punctuation.
type token struct {
	kind byte // w, 0, ', /, and p; ` is a template, of which nothing is read
	text string
	line int
}

func (k token) is(text string) bool { return (k.kind == 'p' || k.kind == 'w') && k.text == text }

var (
	jsBlank  = regexp.MustCompile(`^(?:\s+|//[^\n]*|/\*(?s:.*?)\*/)`)
	jsTokens = []struct {
		kind    byte
		pattern *regexp.Regexp
	}{
		{'w', regexp.MustCompile(`^[A-Za-z_$][\w$]*`)},
		{'0', regexp.MustCompile(`^(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)`)},
		{'\'', regexp.MustCompile(`^(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")`)},
		{'/', regexp.MustCompile(`^/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*`)},
		{'`', regexp.MustCompile("^`")},
		{'p', regexp.MustCompile(`^(?:\.\.\.|=>|===|!==|\*\*=?|>>>=?|<<=?|>>=?|==|!=|<=|>=|&&|\|\||\?\?|\?\.|\+\+|--|[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]#@])`)},
	}
)

// tokens cuts a script.
func tokens(path, src string) ([]token, error) {
	var all []token
	for at := 0; at < len(src); {
		if n := len(jsBlank.FindString(src[at:])); n > 0 {
			at += n
			continue
		}
		line := 1 + strings.Count(src[:at], "\n")
		found := false
		for _, k := range jsTokens {
			if k.kind == '/' && dividing(all) {
				continue
			}
			if text := k.pattern.FindString(src[at:]); text != "" {
				at += len(text)
				if k.kind == '\'' {
					text = text[1 : len(text)-1]
				}
				all = append(all, token{k.kind, text, line})
				found = true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("%s:%d: cannot be read: %.20q", path, line, src[at:])
		}
	}
	return all, nil
}

// dividing says whether a slash behind these divides.
func dividing(all []token) bool {
	if len(all) == 0 {
		return false
	}
	switch last := all[len(all)-1]; last.kind {
	case 'p':
		return last.is(")") || last.is("]") || last.is("}")
	case 'w':
		return !slices.Contains([]string{"return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "else"}, last.text)
	}
	return true
}

// scriptTokens cuts a script of ours.
func scriptTokens(t *testing.T, path string) []token {
	t.Helper()
	all, err := tokens(path, read(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// arguments cuts what is within the parenthesis at open into arguments.
func arguments(all []token, open int) [][]token {
	var args [][]token
	depth, from := 0, open+1
	for i := open; i < len(all); i++ {
		k := all[i]
		if k.kind != 'p' {
			continue
		}
		switch k.text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		}
		if depth == 1 && k.text == "," || depth == 0 {
			if i > from || depth == 1 {
				args = append(args, all[from:i])
			}
			from = i + 1
		}
		if depth == 0 {
			break
		}
	}
	return args
}

// calls gives each call of a function to f, with its arguments; its name may be
// that of a method.
func calls(all []token, name string, f func(at token, args [][]token)) {
	for i := 0; i+1 < len(all); i++ {
		defined := i > 0 && all[i-1].is("function")
		if all[i].kind == 'w' && all[i].text == name && all[i+1].is("(") && !defined {
			f(all[i], arguments(all, i+1))
		}
	}
}

func TestTokens(t *testing.T) {
	const src = "a = b/c/2; // no\nif (/[/'\"]\\//g.test('it\\'s')) /* `\n */ E(\"x\", {}, [ f(1, .5) ], x?.y ?? 0x1F);"
	all, err := tokens("a.js", src)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range all {
		got = append(got, string(k.kind)+k.text)
	}
	want := `wa p= wb p/ wc p/ 02 p; wif p( //[/'"]\//g p. wtest p( 'it\'s p) p) wE p( 'x p, p{ p} p, p[ wf p( 01 p, 0.5 p) p] p, wx p?. wy p?? 00x1F p) p;`
	if strings.Join(got, " ") != want {
		t.Errorf("%s\nwant\n%s", strings.Join(got, " "), want)
	}
	calls(all, "E", func(at token, args [][]token) {
		if at.line != 3 || len(args) != 4 || len(args[1]) != 2 || args[2][0].text != "[" || args[3][1].text != "?." {
			t.Errorf("%+v", args)
		}
	})
	for _, bad := range []string{"'a\nb'", "\"", "a \\ b"} {
		if _, err := tokens("a.js", bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
