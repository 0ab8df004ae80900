package uci

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// MaxSize is the most bytes a configuration file may have. It is far above any
// hand-written one: long lists belong in domain_file.
const MaxSize = 1 << 20

// Parse reads a UCI file; the file's name is used in places only. It accepts
// and refuses what libuci does in strict mode with `uci show`, and gives the
// same sections, names and values. Only what no text file has it refuses on top:
// a NUL byte, behind which libuci skips to the next line, and more than MaxSize
// bytes. The error is an *Error.
func Parse(file string, text []byte) (*Tree, error) {
	if len(text) > MaxSize {
		return nil, &Error{Place{File: file}, fmt.Sprintf("longer than %d bytes", MaxSize)}
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		at := Place{file, 1 + bytes.Count(text[:i], []byte("\n"))}
		return nil, &Error{at, "NUL byte: this is not a text file"}
	}
	p := parser{
		lexer:    lexer{file: file, rest: text},
		tree:     &Tree{File: file},
		sections: map[string]*Section{},
		options:  map[optionKey]*Option{},
	}
	for p.next() {
		p.skipSpace()
		for word := p.keyword(); word != ""; word = p.keyword() {
			if err := p.statement(word); err != nil {
				return nil, err
			}
		}
	}
	return p.tree, nil
}

// A parser builds a tree from statements. Its maps keep the time linear.
type parser struct {
	lexer
	tree     *Tree
	section  *Section
	sections map[string]*Section
	options  map[optionKey]*Option
}

type optionKey struct {
	section *Section
	name    string
}

func (p *parser) statement(word string) error {
	switch word {
	case "package", "p":
		return p.parsePackage()
	case "config", "c":
		return p.parseConfig()
	case "option", "o":
		return p.parseOption(false)
	case "list", "l":
		return p.parseOption(true)
	}
	switch trimmed := strings.TrimRight(word, "\r\n"); trimmed {
	case "":
		return p.errorf("nothing stands behind the last ;")
	case "package", "config", "option", "list":
		return p.errorf("%s has no argument", trimmed)
	default:
		return p.errorf("unknown keyword %s: want config, option or list", quote(trimmed))
	}
}

// parsePackage checks a package line. Its name says nothing: the file is the
// package, as it is for libuci where it loads one file.
func (p *parser) parsePackage() error {
	name, err := p.required("package name")
	if err != nil {
		return err
	}
	if !isName(name, "-") {
		return p.errorf("package name %s: want letters, digits, _ and -", quote(name))
	}
	return p.end()
}

func (p *parser) parseConfig() error {
	typ, err := p.required("section type")
	if err != nil {
		return err
	}
	if !isType(typ) {
		return p.errorf("section type %s: want printable ASCII without blanks", quote(typ))
	}
	word, err := p.arg()
	if err != nil {
		return err
	}
	name := string(word)
	if name != "" && !isName(name, "") {
		return p.errorf("section name %s: want letters, digits and _", quote(name))
	}
	if err := p.end(); err != nil {
		return err
	}
	return p.open(typ, name)
}

// open begins a section, or goes on with the one of that name.
func (p *parser) open(typ, name string) error {
	if s := p.sections[name]; s != nil && name != "" {
		if s.Type != typ {
			return p.errorf("section %s has type %s here and type %s at %s", name, typ, s.Type, s.At)
		}
		p.section = s
		return nil
	}
	s := &Section{Type: typ, Name: name, Anonymous: name == "", At: Place{p.file, p.at}}
	if s.Anonymous {
		s.Name = generatedName(len(p.tree.Sections)+1, typ)
	}
	if p.sections[s.Name] == nil { // libuci finds the first of a name
		p.sections[s.Name] = s
	}
	p.tree.Sections = append(p.tree.Sections, s)
	p.section = s
	return nil
}

// generatedName is the name of the n-th section of a file when it has none of
// its own (libuci, list.c: uci_fixup_section). libuci names a section before it
// reads the options, so that only the type enters the hash (djb2).
func generatedName(n int, typ string) string {
	hash := uint32(5381)
	for i := range len(typ) {
		hash = hash*33 + uint32(typ[i])
	}
	return fmt.Sprintf("cfg%02x%04x", n, hash&0xffff)
}

func (p *parser) parseOption(list bool) error {
	if p.section == nil {
		return p.errorf("option or list before the first config line")
	}
	name, err := p.required("option name")
	if err != nil {
		return err
	}
	if !isName(name, "") {
		return p.errorf("option name %s: want letters, digits and _", quote(name))
	}
	word, err := p.arg()
	if err != nil {
		return err
	}
	text := string(word)
	if err := p.end(); err != nil {
		return err
	}
	if text != "" || list { // an empty option changes nothing
		p.set(name, list, Value{text, Place{p.file, p.at}})
	}
	return nil
}

// set gives the current section's option a value, in place of what it has, or
// behind it for a list.
func (p *parser) set(name string, list bool, v Value) {
	key := optionKey{p.section, name}
	o := p.options[key]
	if o == nil {
		o = &Option{Name: name}
		p.options[key] = o
		p.section.Options = append(p.section.Options, o)
	}
	if !list {
		o.Values = nil
	}
	o.List = list
	o.Values = append(o.Values, v)
}

// required reads an argument that must be there.
func (p *parser) required(what string) (string, error) {
	word, err := p.arg()
	if err == nil && len(word) == 0 {
		err = p.errorf("the %s is missing", what)
	}
	return string(word), err
}

// end sees to it that the statement has no further argument.
func (p *parser) end() error {
	word, err := p.arg()
	if err == nil && len(word) > 0 {
		err = p.errorf("%s is one argument too many: put quotes around a value with blanks", quote(word))
	}
	return err
}

func isName(s, also string) bool {
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || strings.IndexByte(also, c) >= 0) {
			return false
		}
	}
	return s != ""
}

func isType(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// quote is %q for what a file says, cut short where it is long: an error is one
// line for people to read.
func quote[T string | []byte](text T) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(string(text[:most])) + "..."
	}
	return strconv.Quote(string(text))
}
