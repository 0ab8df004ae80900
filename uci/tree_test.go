package uci

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// dump writes a tree in one line: type name[?] { option = value; list += value }.
func dump(t *Tree) string {
	var b strings.Builder
	for _, s := range t.Sections {
		anonymous := ""
		if s.Anonymous {
			anonymous = "?"
		}
		fmt.Fprintf(&b, "%s %s%s {", s.Type, s.Name, anonymous)
		for _, o := range s.Options {
			op := "="
			if o.List {
				op = "+="
			}
			for _, v := range o.Values {
				fmt.Fprintf(&b, " %s %s %q", o.Name, op, v.Text)
			}
		}
		b.WriteString(" } ")
	}
	return strings.TrimSpace(b.String())
}

// The expectations are what uci (openwrt/uci 66127cd) makes of the same bytes.
func TestParse(t *testing.T) {
	const s = "config t 's'\n"
	tests := []struct{ name, in, want string }{
		{"empty", "", ``},
		{"comments only", "# only\n\n  \t# more", ``},
		{"short keywords", "p x\nc t s\no a b\nl d e\n", `t s { a = "b" d += "e" }`},
		{"tabs", "config\tt\ts\n\toption\ta\tb\n", `t s { a = "b" }`},
		{"no final newline", "config t s", `t s { }`},
		{"no final newline, option", s + "option a b", `t s { a = "b" }`},
		{"CRLF", "config t s\r\n\r\n\toption a 'b'\r\n\toption c d\r\n", `t s { a = "b" c = "d" }`},
		{"CRLF within quotes", s + "option a 'b\r\n'", `t s { a = "b\r\n" }`},
		{"package", "package x-y\n" + s, `t s { }`},
		{"type with punctuation", "config 'a;#' s\n", `a;# s { }`},

		{"quotes concatenate", s + `option a x'y z'"w"`, `t s { a = "xy zw" }`},
		{"quoted quote", s + `option a 'it'\''s' # c`, `t s { a = "it's" }`},
		{"escapes in a bare word", s + `option a a\ b\"c\nd`, `t s { a = "a b\"cnd" }`},
		{"escapes in double quotes", s + `option a "a\"b\\c\xd"`, `t s { a = "a\"b\\cxd" }`},
		{"no escapes in single quotes", s + `option a 'a\b\'`, `t s { a = "a\\b\\" }`},
		{"other quote within quotes", s + `option a "it's" ; option b '"'`, `t s { a = "it's" b = "\"" }`},
		{"UTF-8", s + "option a 'б'", `t s { a = "б" }`},
		{"form feed ends a word", s + "option a\fb\v\n", `t s { a = "b" }`},

		{"value over lines, single quotes", s + "option a 'l1\n l2'\noption b c", `t s { a = "l1\n l2" b = "c" }`},
		{"value over lines, double quotes", s + "option a \"l1\nl2\" ; option b c", `t s { a = "l1\nl2" b = "c" }`},
		{"continuation in a bare word", s + "option a b\\\nc\noption d e", `t s { a = "bc" d = "e" }`},
		{"continuation in double quotes", s + "option a \"b\\\n c\"", `t s { a = "b c" }`},
		{"continuation before a word", s + "option a \\\nb", `t s { a = "b" }`},
		{"continuation CRLF", s + "option a b\\\r\nc", `t s { a = "bc" }`},
		{"continuation at the end", s + "option a b\\\n", `t s { a = "b" }`},
		{"continuation in single quotes is none", s + "option a 'b\\\nc'", `t s { a = "b\\\nc" }`},

		{"comment ends a bare word", s + "option a b#c d e", `t s { a = "b" }`},
		{"comment behind quotes", s + "option a 'b'#c", `t s { a = "b" }`},
		{"no comment within quotes", s + "option a 'b#c'", `t s { a = "b#c" }`},
		{"no comment when escaped", s + `option a b\#c`, `t s { a = "b#c" }`},

		{"semicolon", "config t 's' ; option a 'b'; option c d;option e f", `t s { a = "b" c = "d" }`},
		{"semicolon behind a bare word loses the rest", "config t s;option a b\nlist l 1\n", `t s { l += "1" }`},
		{"semicolon at the end of a bare word", s + "option a b;\noption c d\n", `t s { a = "b" c = "d" }`},
		{"semicolon in quotes", s + "option a 'b;c'", `t s { a = "b;c" }`},
		{"semicolon for a name", "config t ;\noption a b", `t cfg01b619? { a = "b" }`},
		{"comment behind a semicolon", s + "option a 'b'; # c", `t s { a = "b" }`},

		{"anonymous", "config t\noption a 1\nconfig t\nconfig rule n\nconfig rule ''\n",
			`t cfg01b619? { a = "1" } t cfg02b619? { } rule n { } rule cfg0492bd? { }`},
		{"anonymous by its generated name", "config t\nconfig t 'cfg01b619'\noption a 1\n", `t cfg01b619? { a = "1" }`},
		{"generated name is taken", "config t 'cfg02b619'\nconfig t\noption a 1\nconfig t 'cfg02b619'\noption b 2\n",
			`t cfg02b619 { b = "2" } t cfg02b619? { a = "1" }`},
		{"same section later", s + "option a 1\noption b 2\nconfig u v\nconfig t 's'\noption a 3\noption c 4\n",
			`t s { a = "3" b = "2" c = "4" } u v { }`},

		{"duplicate list values", s + "list a 1\nlist a 1\nlist a 2\n", `t s { a += "1" a += "1" a += "2" }`},
		{"lists in turns", s + "list a 1\nlist b 1\nlist a 2\n", `t s { a += "1" a += "2" b += "1" }`},
		{"list after option", s + "option a 1\nlist a 2\n", `t s { a += "1" a += "2" }`},
		{"option after list", s + "list a 1\nlist a 2\noption a 3\n", `t s { a = "3" }`},
		{"option twice", s + "option a 1\noption b 1\noption a 2\n", `t s { a = "2" b = "1" }`},
		{"empty option", s + "option a ''\noption b\noption c \"\"", `t s { }`},
		{"empty option changes nothing", s + "option a 1\noption a ''\nlist b 1\noption b", `t s { a = "1" b += "1" }`},
		{"empty list value", s + "list a ''\nlist a 1\n", `t s { a += "" a += "1" }`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := Parse("b4", []byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := dump(tree); got != tt.want {
				t.Errorf("%q:\n got %s\nwant %s", tt.in, got, tt.want)
			}
		})
	}
}

// All of these uci refuses, too, except for the last two.
func TestParseRefuses(t *testing.T) {
	const s = "config t 's'\n"
	tests := []struct{ name, in, want string }{
		{"unknown keyword", s + "bogus a b\n", `b4:2: unknown keyword "bogus": want config, option or list`},
		{"unknown keyword, no newline", s + "\n bogus", `b4:3: unknown keyword "bogus": want config, option or list`},
		{"keyword alone", s + "option\n", `b4:2: option has no argument`},
		{"keyword alone, no newline", "config", `b4:1: the section type is missing`},
		{"keyword and blank", "config \n", `b4:1: the section type is missing`},
		{"byte order mark", "\ufeffconfig t\n", `b4:1: unknown keyword "\ufeffconfig": want config, option or list`},
		{"semicolon last", s + "option a 'b';\n", `b4:2: nothing stands behind the last ;`},
		{"semicolon and blank last", s + "option a b ; \r\n", `b4:2: nothing stands behind the last ;`},
		{"semicolon behind a quoted name", s + "option 'a';option b c\n", `b4:2: "option" is one argument too many: put quotes around a value with blanks`},
		{"third argument", s + "option a b c\n", `b4:2: "c" is one argument too many: put quotes around a value with blanks`},
		{"third argument behind an empty one", s + "option a '' c\n", `b4:2: "c" is one argument too many: put quotes around a value with blanks`},
		{"continuation and blank", s + "option a \\\n b\n", `b4:2: "b" is one argument too many: put quotes around a value with blanks`},
		{"third name", "config t s u\n", `b4:1: "u" is one argument too many: put quotes around a value with blanks`},
		{"option first", "\noption a b\n", `b4:2: option or list before the first config line`},
		{"option name missing", s + "option ''\n", `b4:2: the option name is missing`},
		{"option name", s + "option a-b c\n", `b4:2: option name "a-b": want letters, digits and _`},
		{"section name", "config t s-t\n", `b4:1: section name "s-t": want letters, digits and _`},
		{"section type", "config 'a b' s\n", `b4:1: section type "a b": want printable ASCII without blanks`},
		{"package name", "package 'x y'\n", `b4:1: package name "x y": want letters, digits, _ and -`},
		{"package name missing", "package ''\n", `b4:1: the package name is missing`},
		{"other type", s + "\nconfig u 's'\n", `b4:3: section s has type u here and type t at b4:1`},
		{"single quote open", s + "option a 'x\ny\n", `b4:2: the quote ' is never closed`},
		{"double quote open", s + "option a 'x\ny'\"z\\\n", `b4:3: the quote " is never closed`},
		{"bad line last", s + "option a b\noption c d\nx", `b4:4: unknown keyword "x": want config, option or list`},
		{"NUL byte", s + "option a b\x00\n", `b4:2: NUL byte: this is not a text file`},
		{"too long", strings.Repeat("#", MaxSize+1), `b4: longer than 1048576 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := Parse("b4", []byte(tt.in))
			if err == nil {
				t.Fatalf("parsed as %s", dump(tree))
			}
			if tree != nil {
				t.Errorf("a tree came with the error: %s", dump(tree))
			}
			if err.Error() != tt.want {
				t.Errorf("%q:\n got %s\nwant %s", tt.in, err, tt.want)
			}
			if e := (*Error)(nil); !errors.As(err, &e) {
				t.Errorf("error is a %T", err)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	const in = "\nconfig t 's'\n\n\toption a 'x\ny' ; option b 1\n\tlist l 1\n\n\tlist l \\\n2\n\toption a z\n"
	tree, err := Parse("/etc/config/b4", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range tree.Sections {
		got = append(got, s.At.String())
		for _, o := range s.Options {
			for _, v := range o.Values {
				got = append(got, fmt.Sprintf("%s=%s@%d", o.Name, v.Text, v.At.Line))
			}
		}
	}
	const want = "/etc/config/b4:2 a=z@10 b=1@5 l=1@6 l=2@8"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

func TestTreeGet(t *testing.T) {
	tree, err := Parse("b4", []byte("config t a\nlist l 1\nlist l 2\noption on yes\noption off disabled\noption odd Yes\nconfig u b\nconfig t\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(tree.GetSections("t"), tree.GetSections("x")); got != "[a cfg03b619] []" {
		t.Errorf("GetSections: %s", got)
	}
	if got, ok := tree.Get("a", "l"); fmt.Sprint(got, ok) != "[1 2] true" {
		t.Errorf("Get: %v %v", got, ok)
	}
	if got, ok := tree.GetLast("a", "l"); got != "2" || !ok {
		t.Errorf("GetLast: %v %v", got, ok)
	}
	for _, at := range [][2]string{{"a", "x"}, {"b", "l"}, {"x", "l"}} {
		_, ok := tree.Get(at[0], at[1])
		_, last := tree.GetLast(at[0], at[1])
		if ok || last {
			t.Errorf("%v is there", at)
		}
	}
	for name, want := range map[string][2]bool{"on": {true, true}, "off": {false, true}, "odd": {}, "l": {}, "x": {}} {
		if v, ok := tree.GetBool("a", name); v != want[0] || ok != want[1] {
			t.Errorf("GetBool %s: %v %v", name, v, ok)
		}
	}
}

// render writes a tree as `uci export` does.
func render(t *Tree) string {
	var b strings.Builder
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	for _, s := range t.Sections {
		b.WriteString("config " + quote(s.Type))
		if !s.Anonymous {
			b.WriteString(" " + quote(s.Name))
		}
		b.WriteString("\n")
		for _, o := range s.Options {
			word := "option"
			if o.List {
				word = "list"
			}
			for _, v := range o.Values {
				b.WriteString("\t" + word + " " + o.Name + " " + quote(v.Text) + "\n")
			}
		}
	}
	return b.String()
}

// FuzzParse asks that what is accepted means the same when it is written out
// plainly, and that every place lies in the file.
func FuzzParse(f *testing.F) {
	f.Add("config t 's'\n\toption a 'it'\\''s' # c\n\tlist l \"x\\\n y\" ; list l z\nconfig t\n")
	f.Add("config t s\r\noption a 'b\r\n'\r\npackage p\n")
	f.Add("c t\no a b;\no c\nl d ''\no d e\\")
	f.Fuzz(func(t *testing.T, in string) {
		tree, err := Parse("b4", []byte(in))
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || e.At.Line > 1+strings.Count(in, "\n") {
				t.Fatalf("%q: %v", in, err)
			}
			return
		}
		for _, s := range tree.Sections {
			for _, o := range s.Options {
				if len(o.Values) == 0 || o.Values[0].At.Line < 1 || o.Values[0].At.Line > 1+strings.Count(in, "\n") {
					t.Fatalf("%q: option %s: %v", in, o.Name, o.Values)
				}
			}
		}
		plain := render(tree)
		again, err := Parse("b4", []byte(plain))
		if err != nil {
			t.Fatalf("%q rendered as %q: %v", in, plain, err)
		}
		if got, want := dump(again), dump(tree); got != want {
			t.Errorf("%q rendered as %q:\n got %s\nwant %s", in, plain, got, want)
		}
	})
}
