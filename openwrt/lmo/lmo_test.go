package lmo

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
)

// What sfh of LuCI's cbi.js returns.
func TestHash(t *testing.T) {
	for s, want := range map[string]uint32{
		"":                   0,
		"a":                  0x115ea782,
		"ab":                 0x516b8b44,
		"abc":                0xd2be198a,
		"abcd":               0xdad8b8db,
		"Save & Apply":       0x610beed4,
		"Off":                0x46bf098c,
		"é":                  0xc4fba554,
		"ありがとう":              0x9d67e96a,
		"Сохранить":          0x62ff68fe,
		"قاعده":              0x8aac636f,
		"xя":                 0xc25d549f,
		"xyя":                0x64a3ca5f,
		"Rule\x011":          0x1738b4e8,
		"xxx\u00ff":          0x1680f55b,
		"Grant access to b4": 0xab737d2a,
		"\U00010348b4":       0x1f099522,
	} {
		if got := Hash(s); got != want {
			t.Errorf("%q: %08x, want %08x", s, got, want)
		}
	}
}

func parsed(t testing.TB, text string) []Message {
	t.Helper()
	all, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return all
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testdata/all.lmo is what LuCI's po2lmo makes of testdata/all.po.
func TestEncode(t *testing.T) {
	got, err := Encode(parsed(t, string(read(t, "testdata/all.po"))))
	if want := read(t, "testdata/all.lmo"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, other bytes:\n%q\nwant\n%q", err, got, want)
	}
	for _, text := range []string{"", "msgid \"\"\nmsgstr \"Language: ru\\n\"\n", "msgid \"a\"\nmsgstr \"\"\n", "msgid \"a\"\nmsgstr \"a\"\n"} {
		if got, err := Encode(parsed(t, text)); got != nil || err != nil {
			t.Errorf("%q becomes %q, %v", text, got, err)
		}
	}
}

func TestTable(t *testing.T) {
	got, err := Table(parsed(t, string(read(t, "testdata/all.po"))))
	want := map[string]string{
		"00000000": "nplurals=3; plural=n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2;",
		"46bf098c": "Выкл",
		"f38110fe": "Выключить",
		"598515b4": `Говорит «%s» "\" и\tидёт\nдальше`,
		"892c7fe9": "%d правило",
		"7373710c": "%d правил",
		"b1981723": "конец",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %q", err, got)
	}
}

// Texts of one hash cannot both be translated.
func TestCollision(t *testing.T) {
	all := parsed(t, "msgid \"a\"\nmsgstr \"x\"\n\nmsgctxt \"a\"\nmsgid \"b\"\nmsgstr \"y\"\n")
	all[1].ID, all[1].Context = "a", ""
	for _, err := range []error{second(Encode(all)), second(Table(all))} {
		if err == nil || err.Error() != "line 4: has the same hash as line 1" {
			t.Error(err)
		}
	}
	all = parsed(t, "msgid \"\"\n"+strings.Repeat("\""+strings.Repeat("x", 2048)+"\"\n", 2)+"msgstr \"y\"\n")
	if err := second(Encode(all)); err == nil || err.Error() != "line 1: more than 4095 bytes to translate" {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }
