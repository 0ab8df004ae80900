package uci

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b4")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The file that the package ships says nothing but the defaults.
func TestShippedConfig(t *testing.T) {
	c, warnings, err := Load("../procd/b4.config")
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	want, _, err := decode(t, "")
	if err != nil {
		t.Fatal(err)
	}
	c.Rules[0].At, c.places = Place{}, map[string]Place{}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("\n got %+v\nwant %+v", c, want)
	}
}

func TestLoad(t *testing.T) {
	path := write(t, "config b4 main\n\toption queue_num 1\n")
	c, _, err := Load(path, "main.queue_len=99")
	if err != nil || c.Main.QueueNum != 1 || c.Main.QueueLen != 99 {
		t.Errorf("%+v %v", c.Main, err)
	}
	if at := c.Place("main.queue_num"); at != (Place{path, 2}) {
		t.Errorf("place: %v", at)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := write(t, "config b4 main\nbogus\n")
	long := write(t, strings.Repeat("#", MaxSize+2))
	tests := []struct{ path, want string }{
		{dir + "/none", "read configuration: stat " + dir + "/none: no such file or directory: the package brings /etc/config/b4, -config names another file"},
		{dir, "read configuration: " + dir + " is not a regular file"},
		{bad, bad + `:2: unknown keyword "bogus": want config, option or list`},
		{long, long + ": longer than 1048576 bytes"},
	}
	for _, tt := range tests {
		c, _, err := Load(tt.path)
		if err == nil || err.Error() != tt.want || !reflect.DeepEqual(c, Config{}) {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

func TestOverlaid(t *testing.T) {
	overlay := write(t, "")
	if got := overlaid("/etc/config/b4", overlay); got != overlay {
		t.Errorf("the overlay is there, read is %s", got)
	}
	if got := overlaid("/etc/config/b4", overlay+"x"); got != "/etc/config/b4" {
		t.Errorf("there is no overlay, read is %s", got)
	}
}

// Two steps stand in for real migrations, so that the version they lead to is 3.
func TestMigrate(t *testing.T) {
	steps := []migration{
		func(t *Tree) { t.section("b4", "main").option("queue").Name = "queue_num" },
		func(t *Tree) { t.section("b4", "main").option("queue_num").Values = []Value{{Text: "7"}} },
	}
	const body = "\toption queue '5'\n"
	tests := []struct{ name, version, want, err string }{
		{name: "no version", want: `b4 main { queue_num = "7" }`},
		{name: "first", version: "1", want: `b4 main { version = "3" queue_num = "7" }`},
		{name: "last", version: "3", want: `b4 main { version = "3" queue = "5" }`},
		{name: "not a number", version: "new", want: `b4 main { version = "new" queue = "5" }`},
		{name: "zero", version: "0", want: `b4 main { version = "0" queue = "5" }`},
		{name: "newer", version: "4", err: "b4:2: main.version: this file needs a b4 that reads version 4 of its format, " +
			"and this one reads up to 3: upgrade b4, or restore the file that it came with"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := Parse("b4", []byte("config b4 main\n\toption version '"+tt.version+"'\n"+body))
			if err != nil {
				t.Fatal(err)
			}
			if err := migrate(tree, steps); err != nil {
				if err.Error() != tt.err {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				return
			}
			if got := dump(tree); got != tt.want || tt.err != "" {
				t.Errorf("got %s, want %s%s", got, tt.want, tt.err)
			}
		})
	}
	if len(migrations) != Version-1 {
		t.Errorf("%d migrations lead to version %d, not to %d", len(migrations), len(migrations)+1, Version)
	}
}

func TestNewerVersion(t *testing.T) {
	c, _, err := decode(t, "config b4 main\n\toption version 2\n\toption enabled perhaps\n")
	if err == nil || strings.Contains(err.Error(), "enabled") || !reflect.DeepEqual(c, Config{}) {
		t.Errorf("got %+v %v", c, err)
	}
}
