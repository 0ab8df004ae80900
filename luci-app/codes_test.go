package luciapp

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// makers make sentences with codes in b4d. The number is of the argument that is the
// code.
var makers = map[string]int{"say": 1, "finding": 0, "fail": 0, "note": 0, "Note": 0, "Finding": 0}

// code is what a code looks like; the journal's notes have none.
var code = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// codes are those of b4d's sentences, each with a place where it arises.
func codes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	files := gotoken.NewFileSet()
	for _, dir := range []string{"daemon", "netif", "confine"} {
		paths, err := filepath.Glob("../" + dir + "/*.go")
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(paths), err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				for _, c := range codesOf(n) {
					found[c] = files.Position(n.Pos()).String()
				}
				return true
			})
		}
	}
	return found
}

// codesOf are those of the sentences that n makes itself.
func codesOf(n ast.Node) (list []string) {
	var maker ast.Expr
	var given []ast.Expr
	switch n := n.(type) {
	case *ast.CallExpr:
		maker, given = n.Fun, n.Args
	case *ast.CompositeLit:
		if array, ok := n.Type.(*ast.ArrayType); ok { // of which the elements need no type
			for _, e := range n.Elts {
				if inner, ok := e.(*ast.CompositeLit); ok && inner.Type == nil {
					list = append(list, codesOf(&ast.CompositeLit{Type: array.Elt, Elts: inner.Elts})...)
				}
			}
			return list
		}
		maker, given = n.Type, n.Elts
	}
	name := ""
	switch m := maker.(type) {
	case *ast.Ident:
		name = m.Name
	case *ast.SelectorExpr:
		name = m.Sel.Name
	}
	at, ok := makers[name]
	if !ok || at >= len(given) {
		return nil
	}
	arg := given[at]
	for _, e := range given {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "Code" {
				arg = pair.Value
			}
		}
	}
	if text, ok := arg.(*ast.BasicLit); ok && text.Kind == gotoken.STRING {
		if s, err := strconv.Unquote(text.Value); err == nil && code.MatchString(s) {
			return []string{s}
		}
	}
	return nil
}

// The pages have words for each code that b4d has, and for no other.
func TestCodes(t *testing.T) {
	said := codes(t)
	if len(said) < 50 {
		t.Errorf("found %v alone", said)
	}
	_, text, _ := strings.Cut(read(t, resources+"b4/common.js"), "\nfunction finding(f) {\n")
	text, _, ok := strings.Cut(text, "}[f.code];")
	if !ok {
		t.Fatal("common.js has no table of findings")
	}
	var known []string
	for _, m := range regexp.MustCompile(`\n\t\t(\w+): _\(`).FindAllStringSubmatch(text, -1) {
		known = append(known, m[1])
	}
	for code, place := range said {
		if !slices.Contains(known, code) {
			t.Errorf("%s: %q has no words on the pages", place, code)
		}
	}
	for _, code := range known {
		if said[code] == "" {
			t.Errorf("b4d never says %s", code)
		}
	}
}

// What the pages know of the refusals of the control socket is what it says.
func TestRefusals(t *testing.T) {
	text := read(t, resources+"b4/common.js")
	known := regexp.MustCompile(`'collect: ([^']+)'`).FindAllStringSubmatch(text, -1)
	for _, m := range known {
		if !strings.Contains(read(t, "../daemon/collect.go"), `errors.New("`+m[1]+`")`) {
			t.Errorf("b4d never says %q", m[1])
		}
	}
	if len(known) != 2 || !strings.Contains(text, "/^reload: refused/") || !strings.Contains(read(t, "../daemon/methods.go"), `fmt.Errorf("refused, the old`) {
		t.Errorf("known are %q", known)
	}
}
