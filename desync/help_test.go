package desync

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// readAny is a reader of files that has all of them.
func readAny(string) ([]byte, error) { return []byte("any bytes"), nil }

func protoNamed(t *testing.T, name string) Proto {
	for pr := range Protos {
		if pr.String() == name {
			return pr
		}
	}
	t.Fatalf("no protocol %q", name)
	return 0
}

// examples are values that q takes.
func (q *ParamHelp) examples(pr Proto) (values []string) {
	switch q.Kind {
	case "number":
		values = []string{strconv.Itoa(q.Min), strconv.Itoa(q.Max)}
		if q.Default != "" {
			values = append(values, q.Default)
		}
	case "word":
		values = append(values, q.Words...)
	case "position":
		values = []string{"1", "-1"}
		for _, m := range markerNames(pr) {
			values = append(values, m, m+"+2", m+"-3")
		}
	case "host":
		values = []string{"a.example"}
	case "path":
		values = []string{"/etc/b4/decoy.bin"}
	case "ttl":
		values = []string{"1", "255", "auto", "auto-20"}
	}
	for i, v := range values {
		if q.Keyed {
			values[i] = q.Name + "=" + v
		}
	}
	return values
}

// text is the step with one more argument behind what it needs.
func (h *StepHelp) text(pr Proto, skip *ParamHelp, more string) string {
	var args []string
	for i := range h.Params {
		q := &h.Params[i]
		if q != skip && (q.Required || q.Name == fooling) {
			args = append(args, q.examples(pr)[0])
		}
	}
	if more != "" {
		args = append(args, more)
	}
	if len(args) == 0 {
		return h.Name
	}
	return h.Name + "(" + strings.Join(args, ", ") + ")"
}

// What help lists is what the parser takes, and the other way around.
func TestHelpTellsTheTruth(t *testing.T) {
	listed := map[string]bool{}
	for _, h := range Steps() {
		if h.Help == "" || strings.ContainsAny(h.Help, "\n") {
			t.Errorf("%s: help is no line: %q", h.Name, h.Help)
		}
		for _, name := range h.For {
			pr := protoNamed(t, name)
			listed[name+" "+h.Name] = true
			without, err := pr.ParseWith(h.text(pr, nil, ""), readAny)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			for i := range h.Params {
				q := &h.Params[i]
				if q.Help == "" {
					t.Errorf("%s: %s has no help", h.Name, q.Name)
				}
				for _, v := range q.examples(pr) {
					text := h.text(pr, q, v)
					s, err := pr.ParseWith(text, readAny)
					if err != nil {
						t.Errorf("%s: %v", name, err)
						continue
					}
					if again, err := pr.ParseWith(s.String(), readAny); err != nil || again.String() != s.String() {
						t.Errorf("%s: %q is %q, and that %v, %v", name, text, s, again, err)
					}
				}
				if def := strings.TrimPrefix(q.Default, q.Name+"="); def != "" {
					if q.Keyed {
						def = q.Name + "=" + def
					}
					if with, err := pr.Parse(h.text(pr, nil, def)); err != nil || with.String() != without.String() {
						t.Errorf("%s: default of %s: %v, %v, want %v", h.text(pr, nil, def), q.Name, with, err, without)
					}
				}
				refuse(t, pr, h.text(pr, q, outside(q)))
			}
		}
	}
	for _, sp := range specs() {
		for pr := range Protos {
			if known := sp.in.has(pr) && sp.refuse == ""; known && !listed[pr.String()+" "+sp.name] {
				t.Errorf("%s for %s is not listed", sp.name, pr)
			}
			if !listed[pr.String()+" "+sp.name] {
				refuse(t, pr, sp.name+"(1)")
			}
		}
	}
}

// outside is a value that q does not take.
func outside(q *ParamHelp) (value string) {
	value = "no-such-word"
	switch q.Kind {
	case "number":
		value = strconv.Itoa(q.Max + 1)
	case "host":
		value = "a_b"
	case "ttl":
		value = "auto-21"
	case "path":
		return q.Name + "="
	}
	if q.Keyed {
		return q.Name + "=" + value
	}
	return value
}

func refuse(t *testing.T, pr Proto, text string) {
	t.Helper()
	s, err := pr.ParseWith(text, readAny)
	var e *Error
	if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(text) {
		t.Errorf("%s %q: %v, %v, want an error with its place", pr, text, s, err)
	}
}

func TestMarkersAreListed(t *testing.T) {
	for _, m := range Markers() {
		for pr := range Protos {
			_, err := pr.Parse("split(" + m.Name + ")")
			if has := index(m.For, pr.String()) >= 0; has != (err == nil) {
				t.Errorf("%s in %s: %v", m.Name, pr, err)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	want := map[string]string{
		"split":    "split(pos…)",
		"disorder": "disorder",
		"rst":      "rst([ttl=ttl], [fooling…], [place=word], [repeat=1-10])",
		"seqovl":   "seqovl(n, [pattern], [sni=host])",
	}
	for _, h := range Steps() {
		if w, ok := want[h.Name]; ok && h.Usage() != w {
			t.Errorf("%s, want %s", h.Usage(), w)
		}
	}
}

// A decoy's bytes from a file are bounded, and an error says where it is named.
func TestParseFile(t *testing.T) {
	errGone := errors.New("no such file")
	for name, want := range map[string]string{"gone": "read /gone: no such file", "empty": "/empty is empty", "long": "/long has 4097 bytes, more than 4096", "good": ""} {
		s, err := HTTP.ParseWith("split(1) fake(badsum, file=/"+name+")", func(path string) ([]byte, error) {
			switch path {
			case "/gone":
				return nil, errGone
			case "/empty":
				return nil, nil
			case "/long":
				return make([]byte, maxFile+1), nil
			}
			return []byte("GOOD"), nil
		})
		var e *Error
		switch errors.As(err, &e); {
		case want == "" && (err != nil || s.String() != "split(1) fake(file=/good, badsum)"):
			t.Errorf("%v, %v", s, err)
		case want != "" && (e == nil || e.Msg != want || e.Pos != 27):
			t.Errorf("%v, want %s", err, want)
		}
	}
}
