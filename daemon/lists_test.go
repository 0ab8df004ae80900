package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"b4/uci"

	"golang.org/x/sys/unix"
)

// buildOf builds a configuration in a file b4, which has what enabled has.
func buildOf(t *testing.T, conf string) (*settings, error) {
	t.Helper()
	tree, err := uci.Parse("b4", []byte(enabled+conf))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := uci.Decode(tree)
	if err != nil {
		t.Fatal(err)
	}
	return build("b4", c)
}

// lists writes files into a directory of the test's.
func lists(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestNeverFile(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxListLine)
	dir := lists(t, map[string]string{
		"empty": "", "comments": "# bank.example\n\n   # 10.0.0.1\n",
		"good": " Bank.example # the bank\r\n*.game.example\n192.0.2.80\n198.51.100.7/24\n2001:DB8:77::/48\n2001:db8::1",
		"url":  "bank.example\nhttps://bank.example/\n", "blank": "a b\n", "star": "\n*\n", "all": "0.0.0.0/0\n", "all6": "::/0\n", "length": "192.0.2.0/33\n",
		"mapped": "::ffff:192.0.2.1\n", "zone": "fe80::1%br-lan\n", "digits": "192.0.2\n", "long": "a.example\n" + long + "\n",
	})
	for _, tt := range []struct{ file, want string }{
		{"empty", "0 []"},
		{"comments", "0 []"},
		{"good", "2 [192.0.2.80/32 198.51.100.0/24 2001:db8:77::/48 2001:db8::1/128]"},
		{"url", `DIR/url:2: "https://bank.example/" is neither an address nor a network`},
		{"blank", `DIR/blank:1: host name "a b": unexpected " "`},
		{"star", `DIR/star:2: "*" would leave nothing to b4: set main.enabled to 0 for that`},
		{"all", `DIR/all:1: "0.0.0.0/0" is all addresses`},
		{"all6", `DIR/all6:1: "::/0" is all addresses`},
		{"length", `DIR/length:1: "192.0.2.0/33" is neither an address nor a network`},
		{"mapped", `DIR/mapped:1: "::ffff:192.0.2.1" is an IPv4 address in IPv6 form`},
		{"zone", `DIR/zone:1: "fe80::1%br-lan" has a zone, leave out the %br-lan`},
		{"digits", `DIR/digits:1: "192.0.2" is neither an address nor a network`},
		{"long", `DIR/long:2: bufio.Scanner: token too long`},
		{"missing", `open DIR/missing: no such file or directory`},
		{".", `DIR is not a regular file`},
	} {
		s, err := buildOf(t, "\toption never '"+filepath.Join(dir, tt.file)+"'\n")
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "b4:3: main.never: ")
		} else {
			got = fmt.Sprint(s.pipe.Never.Len(), " ", s.who.never)
		}
		if want := strings.ReplaceAll(tt.want, "DIR", dir); got != want {
			t.Errorf("%s: %s, want %s", tt.file, got, want)
		}
	}
	if s := settingsOf(t, ""); s.pipe.Never.Len() > 0 { // nor is there one here
		t.Errorf("%d names", s.pipe.Never.Len())
	}
}

// What never ends, or never begins, is refused at once.
func TestNoRegularFile(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, filepath.Dir(fifo), "/dev/zero"} {
		for _, tt := range []struct{ conf, want string }{
			{"\toption never '" + path + "'\n", "b4:3: main.never: " + path + " is not a regular file"},
			{"config rule 'x'\n\tlist domain_file '" + path + "'\n", "b4:4: rule.x.domain_file: " + path + " is not a regular file"},
			{"config strategy 's'\n\toption tls 'fake(file=" + path + ") split(1)'\n", path + " is not a regular file"},
		} {
			if _, err := buildOf(t, tt.conf); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %s", tt.conf, err, tt.want)
			}
		}
	}
}
