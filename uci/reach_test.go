package uci

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// leaves adds every exported field below v to m, by its path, as text.
func leaves(m map[string]string, path string, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Struct && v.Type().PkgPath() == reflect.TypeFor[Config]().PkgPath() && v.Type() != reflect.TypeFor[Place]():
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				leaves(m, strings.TrimPrefix(path+"."+f.Name, "."), v.Field(i))
			}
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			leaves(m, path, v.Index(i)) // there is one of each here
		}
	default:
		m[path] = fmt.Sprint(v.Interface())
	}
}

// other returns a value that the field takes and that is not its default.
func (f *Field) other() string {
	switch f.Kind {
	case Bool:
		return map[string]string{"0": "1", "1": "0"}[f.Default]
	case Uint, Table:
		return fmt.Sprint(f.Max)
	case Mark:
		return fmt.Sprintf("%#x", f.Min)
	case Enum:
		return f.Values[slices.IndexFunc(f.Values, func(v string) bool { return v != f.Default })]
	case Prefix, Addr:
		return map[int]string{4: "192.0.2.9", 6: "2001:db8::9"}[f.Family]
	case Network:
		return "2001:db8::9"
	case MAC:
		return "02:00:00:00:00:09"
	case Path:
		return "/other"
	}
	return "s" // also the name of the strategy that there is
}

// Each option reaches the configuration, from the file and from -set alike, and
// a field of its own there. Nothing in the configuration is without an option.
func TestEveryOptionCounts(t *testing.T) {
	const base = "config b4 main\nconfig tun tun\nconfig rule r\nconfig strategy s\nconfig strategy default\n"
	names := map[string]string{"b4": "main", "tun": "tun", "rule": "r", "strategy": "s"}
	read := func(in string, override ...string) map[string]string {
		t.Helper()
		c, warnings, err := decode(t, in, override...)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%q %q: %v %v", in, override, warnings, err)
		}
		c.Strategies = c.Strategies[:1]
		m := map[string]string{}
		leaves(m, "", reflect.ValueOf(c))
		return m
	}
	before := read(base)
	setBy := map[string]string{
		"Version":    "b4.version", // which has no value but the default
		"Rules.Name": "the section", "Rules.At": "the section", "Strategies.Name": "the section", "Strategies.At": "the section",
	}
	for _, f := range Schema() {
		option, value := f.Section+"."+f.Option, f.other()
		if option == "b4.version" {
			continue
		}
		head := "config " + f.Section + " " + names[f.Section] + "\n"
		after := read(strings.Replace(base, head, head+"\toption "+f.Option+" '"+value+"'\n", 1))
		var changed []string
		for path := range after {
			if after[path] != before[path] && path != "Rules.At" && path != "Strategies.At" { // lines further down
				changed = append(changed, path)
			}
		}
		if len(changed) != 1 {
			t.Errorf("%s %q changes %q in the configuration, not one field", option, value, changed)
			continue
		}
		if by := setBy[changed[0]]; by != "" {
			t.Errorf("%s and %s both set %s", by, option, changed[0])
		}
		setBy[changed[0]] = option
		if got := read(base, names[f.Section]+"."+f.Option+"="+value)[changed[0]]; got != after[changed[0]] {
			t.Errorf("%s %q: -set makes %s of it, the file %s", option, value, got, after[changed[0]])
		}
	}
	for path := range before {
		if setBy[path] == "" {
			t.Errorf("no option sets %s", path)
		}
	}
}
