package openwrt

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"testing"
)

// packed is what mkpkg makes of package b4, as its source says: mkpkg is a
// command, and nothing can import it.
type packed struct {
	files []packedFile
	text  map[string]string   // constants, and fields of the package, by name
	lists map[string][]string // likewise
}

type packedFile struct {
	from, to string
	mode     int64
}

func readPacked(t *testing.T) packed {
	t.Helper()
	const source = "mkpkg/package.go"
	if _, err := os.Stat(source); err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := packed{text: map[string]string{}, lists: map[string][]string{}}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && len(v.Values) == 1 {
					p.constant(t, v.Names[0].Name, v.Values[0])
				}
			}
		case *ast.FuncDecl:
			if d.Name.Name == "daemonPackage" {
				ast.Inspect(d, p.field)
			}
		}
	}
	for _, name := range []string{"release", "maintainer", "license", "daemonPath", "restartUpgraded", "Section", "Title"} {
		if p.text[name] == "" {
			t.Errorf("%s does not say its %s", source, name)
		}
	}
	if len(p.files) == 0 || len(p.lists["Depends"]) == 0 || len(p.lists["Conffiles"]) == 0 {
		t.Errorf("%s does not say its files, what it depends on or its conffiles", source)
	}
	return p
}

// constant keeps a text, or the table of files.
func (p *packed) constant(t *testing.T, name string, value ast.Expr) {
	t.Helper()
	if s, ok := text(value); ok {
		p.text[name] = s
	}
	if name != "daemonFiles" {
		return
	}
	for _, row := range value.(*ast.CompositeLit).Elts {
		var f packedFile
		cells := row.(*ast.CompositeLit).Elts
		f.from, _ = text(cells[0])
		f.to, _ = text(cells[1])
		mode, err := strconv.ParseInt(cells[2].(*ast.BasicLit).Value, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		f.mode = mode
		p.files = append(p.files, f)
	}
}

// field keeps what a literal sets: for ast.Inspect.
func (p *packed) field(n ast.Node) bool {
	kv, ok := n.(*ast.KeyValueExpr)
	if !ok {
		return true
	}
	name := kv.Key.(*ast.Ident).Name
	if s, ok := text(kv.Value); ok {
		if p.text[name] == "" {
			p.text[name] = s
		}
		return true
	}
	if list, ok := kv.Value.(*ast.CompositeLit); ok {
		for _, e := range list.Elts {
			if s, ok := text(e); ok {
				p.lists[name] = append(p.lists[name], s)
			}
		}
	}
	return true
}

// text returns the value of a string literal.
func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
