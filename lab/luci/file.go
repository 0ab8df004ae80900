package luci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"b4/uci"
)

// A file is one UCI package as libuci has it in memory: it can be changed, and
// written in libuci's format.
type file struct {
	sections []*section
}

type section struct {
	typ, name string
	anonymous bool
	options   []*option
}

// An option has one value, a list has one or more.
type option struct {
	name   string
	list   bool
	values []string
}

// readFile parses the file at path with b4's own reader.
func readFile(path string) (*file, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	tree, err := uci.Parse(path, text)
	if err != nil {
		return nil, err
	}
	f := &file{}
	for _, from := range tree.Sections {
		s := &section{typ: from.Type, name: from.Name, anonymous: from.Anonymous}
		for _, o := range from.Options {
			to := &option{name: o.Name, list: o.List}
			for _, v := range o.Values {
				to.values = append(to.values, v.Text)
			}
			s.options = append(s.options, to)
		}
		f.sections = append(f.sections, s)
	}
	return f, nil
}

// String is the file as `uci commit` writes it (file.c, uci_export_package).
func (f *file) String() string {
	var b strings.Builder
	for _, s := range f.sections {
		fmt.Fprintf(&b, "\nconfig %s", s.typ)
		if !s.anonymous {
			fmt.Fprintf(&b, " '%s'", s.name)
		}
		b.WriteByte('\n')
		for _, o := range s.options {
			word := "option"
			if o.list {
				word = "list"
			}
			for _, v := range o.values {
				fmt.Fprintf(&b, "\t%s %s '%s'\n", word, o.name, strings.ReplaceAll(v, "'", `'\''`))
			}
		}
	}
	b.WriteByte('\n')
	return b.String()
}

// write puts the file in the place of the one at path, as libuci does: anew,
// then renamed.
func (f *file) write(path string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".luci-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails where it has been renamed
	_, err = tmp.WriteString(f.String())
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func (f *file) section(name string) *section {
	at := slices.IndexFunc(f.sections, func(s *section) bool { return s.name == name })
	if at < 0 {
		return nil
	}
	return f.sections[at]
}

func (s *section) option(name string) *option {
	at := slices.IndexFunc(s.options, func(o *option) bool { return o.name == name })
	if at < 0 {
		return nil
	}
	return s.options[at]
}

// newName is what libuci calls an anonymous section that is added (list.c,
// uci_fixup_section): a number, and a hash of the type.
func (f *file) newName(typ string) string {
	hash := uint32(5381)
	for i := range len(typ) {
		hash = hash*33 + uint32(typ[i])
	}
	for n := len(f.sections) + 1; ; n++ {
		name := fmt.Sprintf("cfg%02x%04x", n, hash&0xffff)
		if f.section(name) == nil {
			return name
		}
	}
}

// A change is one of rpcd's change records: add, set, remove, order, list-add,
// rename, each with a section and what its kind needs behind it.
type change []string

// apply changes the file. What does not fit is left out, as libuci leaves it.
func (f *file) apply(c change) {
	kind, name := c[0], c[1]
	if kind == "add" || kind == "set" && len(c) == 3 {
		f.sections = append(f.sections, &section{typ: c[2], name: name, anonymous: kind == "add"})
		return
	}
	s := f.section(name)
	if s == nil {
		return
	}
	switch {
	case kind == "remove" && len(c) == 2:
		f.sections = slices.DeleteFunc(f.sections, func(o *section) bool { return o == s })
	case kind == "remove":
		s.options = slices.DeleteFunc(s.options, func(o *option) bool { return o.name == c[2] })
	case kind == "order":
		f.move(s, c[2])
	case kind == "rename" && len(c) == 3:
		s.name, s.anonymous = c[2], false
	case kind == "rename":
		if o := s.option(c[2]); o != nil {
			o.name = c[3]
		}
	default:
		s.set(c[2], c[3], kind == "list-add")
	}
}

func (f *file) move(s *section, to string) {
	rest := slices.DeleteFunc(slices.Clone(f.sections), func(o *section) bool { return o == s })
	at, err := strconv.Atoi(to)
	if err != nil {
		return
	}
	f.sections = slices.Insert(rest, min(at, len(rest)), s)
}

// set gives an option a value, or a list one more.
func (s *section) set(name, value string, list bool) {
	o := s.option(name)
	if o == nil {
		o = &option{name: name}
		s.options = append(s.options, o)
	}
	if !list {
		o.values = nil
	}
	o.list = list
	o.values = append(o.values, value)
}

// dump is the section as ubus shows it, with its place if that is known.
func (s *section) dump(index int) map[string]any {
	m := map[string]any{".anonymous": s.anonymous, ".type": s.typ, ".name": s.name}
	if index >= 0 {
		m[".index"] = index
	}
	for _, o := range s.options {
		m[o.name] = o.dump()
	}
	return m
}

func (o *option) dump() any {
	if o.list {
		return o.values
	}
	return o.values[0]
}
