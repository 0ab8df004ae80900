package lmo

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got := parsed(t, string(read(t, "testdata/all.po")))
	want := []Message{
		{Line: 1, Text: []string{"Project-Id-Version: \nLanguage: ru\nplural-forms: nplurals=3; plural=n%10==1 && n%100!=11 ? 0 : n%10>=2 && n" +
			"%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2;\nContent-Type: text/plain; charset=UTF-8\n"}},
		{Line: 12, ID: "Off", Text: []string{"Выкл"}, Places: []string{"a.js:1"}, Fuzzy: true},
		{Line: 18, Context: "button", ID: "Off", Text: []string{"Выключить"}},
		{Line: 24, ID: "Says \"%s\" \\ and\tgoes\non", Text: []string{"Говорит «%s» \"\\\" и\tидёт\nдальше"}},
		{Line: 27, ID: "same", Text: []string{"same"}},
		{Line: 30, ID: "none", Text: []string{""}},
		{Line: 33, Context: "x", ID: "%d rule", Plural: "%d rules", Text: []string{"%d правило", "", "%d правил"}},
		{Line: 40, ID: "%d b", Plural: "%d bs", Text: []string{"", "x"}},
		{Line: 45, ID: "end", Text: []string{"конец"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestRefused(t *testing.T) {
	const ok = "msgid \"a\"\nmsgstr \"b\"\n"
	for text, want := range map[string]string{
		"msgid \"\xff\"":                   "the catalogue is not UTF-8",
		"msgstr \"b\"":                     "line 1: not here",
		"\"b\"":                            "line 1: not here",
		ok + "\n\"b\"\nb":                  "line 5: neither a keyword",
		ok + "msgstr[0] \"c\"":             "line 3: not here",
		ok + "msgstr \"c\"":                "line 3: not here",
		"msgctxt \"c\"\nmsgstr \"b\"":      "line 2: not here",
		"msgctxt \"c\"\n# x\nmsgid \"b\"":  "line 2: the message before has no msgstr",
		"msgid \"a\"\nmsgstr[0] \"b\"":     "line 2: not here",
		"msgid \"a\"\nmsgid_plural \"as\"": "line 3: the message before has no msgstr",
		"msgid \"a\"\n\nmsgid \"b\"":       "line 3: the message before has no msgstr",
		ok + "msgid_plural \"as\"":         "line 3: not here",
		ok + ok:                            "line 6: \"a\" of line 3 is there twice",
		"msgid \"a":                        "line 1: no text within quotes",
		"msgid a":                          "line 1: no text within quotes",
		"msgid \"":                         "line 1: no text within quotes",
		"msgid\"a\"":                       "line 1: neither a keyword",
		"msgid \"a\"b\"":                   "line 1: a quote within a text wants a backslash",
		`msgid "a\"`:                       `line 1: a backslash stands before one of \ " n t`,
		`msgid "a\x41"`:                    `line 1: a backslash stands before one of \ " n t`,
		"msgid \"a\x00b\"":                 "line 1: a text has a byte of zero",
		"# " + strings.Repeat("x", 4093):   "line 1: more than 4094 bytes",
		plural(11):                         "line 13: more than 10 plural forms",
		"msgid \"a\"\nmsgid_plural \"b\"\nmsgstr[1] \"c\"": "line 3: not here",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60q: %v, want %s", text, err, want)
		}
	}
	parsed(t, "# "+strings.Repeat("x", 4092)+"\r\n"+plural(10))
}

// plural is a message of n plural forms.
func plural(n int) string {
	text := "msgid \"a\"\nmsgid_plural \"as\"\n"
	for i := range n {
		text += fmt.Sprintf("msgstr[%d] \"b\"\n", i)
	}
	return text
}

// Whatever can be read can be written and read again, and encoded.
func FuzzParse(f *testing.F) {
	f.Add(read(f, "testdata/all.po"))
	f.Add([]byte("msgid \"\"\nmsgstr \"\"\n\"Plural-Forms: \\n\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(Format(all))
		if err != nil {
			t.Fatalf("%v in\n%s", err, Format(all))
		}
		for i := range again {
			again[i].Line = all[i].Line
		}
		if !reflect.DeepEqual(all, again) {
			t.Fatalf("%+v becomes %+v", all, again)
		}
		file, err := Encode(all)
		table, _ := Table(all)
		if err == nil && (len(file)%4 != 0 || (len(file) == 0) != (len(table) == 0)) {
			t.Fatalf("%d bytes of %d texts", len(file), len(table))
		}
	})
}
