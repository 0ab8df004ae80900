package luciapp

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"b4/uci"
)

// editors are the scripts in which the options of a section are.
var editors = map[string][]string{
	"b4":       {"view/b4/settings.js"},
	"tun":      {"view/b4/settings.js"},
	"rule":     {"view/b4/rules.js"},
	"strategy": {"view/b4/strategies.js", "b4/strategy.js"},
}

// expert are the options that are on no page, and why.
var expert = map[string]string{
	"b4.version": "b4's own: it says by which release the file was written",
	"b4.confine": "for debugging b4: without it the daemon keeps rights that it does not need",
	"b4.socket":  "another path wants the init script's jail to know its directory, so it is root's to set",
}

// Every option can be set on a page, or there is a reason; no page has an option that
// b4 does not read, and what it offers and takes is what b4 takes.
func TestOptions(t *testing.T) {
	fields := map[string]uci.Field{}
	for _, f := range uci.Schema() {
		name := f.Section + "." + f.Option
		fields[name] = f
		there := slices.ContainsFunc(editors[f.Section], func(path string) bool { return mentions(t, path, f.Option) })
		if why := expert[name]; there == (why != "") {
			t.Errorf("%s: on a page: %v; a reason not to be: %q", name, there, why)
		}
	}
	for name := range expert {
		if _, ok := fields[name]; !ok {
			t.Errorf("%s: there is no such option", name)
		}
	}
	for _, path := range scripts(t) {
		for _, o := range formOptions(scriptTokens(t, path)) {
			var f uci.Field
			for section, paths := range editors {
				if slices.Contains(paths, strings.TrimPrefix(path, scriptsPath+"/")) && fields[section+"."+o.name].Option != "" {
					f = fields[section+"."+o.name]
				}
			}
			if f.Option == "" {
				t.Errorf("%s:%d: b4 reads no option %s", path, o.line, o.name)
				continue
			}
			o.compare(t, path, f)
		}
	}
}

// mentions says whether a script has a text.
func mentions(t *testing.T, path, text string) bool {
	return slices.ContainsFunc(scriptTokens(t, scriptsPath+"/"+path), func(k token) bool {
		return k.kind == '\'' && k.text == text
	})
}

// A formOption is an option of a form, with the arguments of what says how it is.
type formOption struct {
	name string
	line int
	how  map[string][][]token
}

// formOptions are those of a script, but for what begins with an underscore: such
// stand for several options, or none.
func formOptions(all []token) []formOption {
	var options []formOption
	for i, k := range all {
		if k.kind != 'w' || i+1 == len(all) || !all[i+1].is("(") {
			continue
		}
		args := arguments(all, i+1)
		name := map[string]int{"option": 1, "taboption": 2}[k.text]
		switch {
		case name > 0 && name < len(args) && all[i-1].is("."):
			o := formOption{line: k.line, how: map[string][][]token{}}
			if arg := args[name]; len(arg) == 1 && arg[0].kind == '\'' {
				o.name = arg[0].text
			}
			options = append(options, o)
		case len(options) > 0 && len(args) > 1 && len(args[0]) == 1 && args[0][0].is("o"):
			options[len(options)-1].how[k.text] = args[1:]
		}
	}
	return slices.DeleteFunc(options, func(o formOption) bool { return strings.HasPrefix(o.name, "_") })
}

// compare compares what a form says of an option with what b4 says.
func (o *formOption) compare(t *testing.T, path string, f uci.Field) {
	t.Helper()
	is := func(what string, got []token, want string) {
		t.Helper()
		if len(got) != 1 || got[0].text != want {
			t.Errorf("%s:%d: %s of %s is %+v, not %s", path, o.line, what, f.Option, got, want)
		}
	}
	for how, zero := range map[string]bool{"number": false, "orZero": true} {
		args := o.how[how]
		if args == nil {
			continue
		}
		is("the least", args[0], strconv.FormatUint(f.Min, 10))
		is("the most", args[1], strconv.FormatUint(f.Max, 10))
		is("the default", args[2], f.Default)
		if zero != (f.Zero != "") {
			t.Errorf("%s:%d: 0 of %s is %q", path, o.line, f.Option, f.Zero)
		}
	}
	if args := o.how["flag"]; args != nil {
		is("the default", args[0], f.Default)
	}
	if args := o.how["text"]; args != nil && f.Default != "" {
		is("the default", args[1], f.Default)
	}
	if args := o.how["pick"]; args != nil {
		is("the default", args[0], f.Default)
		var values []string
		for i, k := range args[1] {
			if k.kind == '\'' && args[1][i-1].is("[") {
				values = append(values, k.text)
			}
		}
		slices.Sort(values)
		if want := slices.Sorted(slices.Values(f.Values)); !slices.Equal(values, want) {
			t.Errorf("%s:%d: %s is one of %q, not %q", path, o.line, f.Option, want, values)
		}
	}
}

func TestFormOptions(t *testing.T) {
	k, err := tokens("a.js", "o = s.taboption('x', form.Value, 'mtu', _('a'));\nnumber(o, 1, 2, '3');\no = s.option(A, '_b');\nflag(o, '1');\nreturn this.option(A, 'c')")
	if err != nil {
		t.Fatal(err)
	}
	got := formOptions(k)
	if len(got) != 2 || got[0].name != "mtu" || got[0].line != 1 || len(got[0].how["number"]) != 3 || got[1].name != "c" || len(got[1].how) != 0 {
		t.Errorf("%+v", got)
	}
}
