package uci

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// DefaultPath is the file that is read where no other is asked for.
const DefaultPath = "/etc/config/b4"

// DefaultSocket is where the running b4d is talked to.
const DefaultSocket = "/var/run/b4/b4d.sock"

// DefaultNever is where the package puts the file of hosts that are never touched.
const DefaultNever = "/etc/b4/never.txt"

// overlayPath takes the place of DefaultPath where it exists, as in libuci
// (UCI_CONF2DIR): a configuration that lasts until the next boot.
const overlayPath = "/var/run/uci/b4"

// Load reads and checks a configuration file; "" is DefaultPath. Overrides,
// warnings and errors are as in Decode. Changes in /tmp/.uci that are not
// committed do not count.
func Load(path string, override ...string) (Config, []Warning, error) {
	if path == "" {
		path = DefaultPath
	}
	if path == DefaultPath {
		path = overlaid(path, overlayPath)
	}
	text, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, nil, fmt.Errorf("read configuration: %w: the package brings %s, -config names another file", err, DefaultPath)
	}
	if err != nil {
		return Config{}, nil, fmt.Errorf("read configuration: %w", err)
	}
	t, err := Parse(path, text)
	if err != nil {
		return Config{}, nil, err
	}
	return Decode(t, override...)
}

// overlaid returns the overlay where it exists, else the path.
func overlaid(path, overlay string) string {
	if _, err := os.Stat(overlay); err == nil {
		return overlay
	}
	return path
}

// read reads a regular file, of a longer one enough for Parse to refuse it.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

// A migration brings a tree from one version to the next.
type migration func(*Tree)

// migrations[i] leads from version i+1 to i+2; the last one leads to Version.
var migrations = []migration{}

// migrate brings a tree to the version behind the last step. A file that names
// no version has the first. One that is not a number is left for the schema to
// refuse; a newer one cannot be read at all.
func migrate(t *Tree, steps []migration) error {
	version, current := 1, len(steps)+1
	o := t.version()
	if o != nil {
		last := o.Values[len(o.Values)-1]
		n, err := strconv.Atoi(last.Text)
		if err != nil || n < 1 {
			return nil
		}
		if n > current {
			return &Error{last.At, fmt.Sprintf("main.version: this file needs a b4 that reads version %d of its format, "+
				"and this one reads up to %d: upgrade b4, or restore the file that it came with", n, current)}
		}
		version = n
	}
	if version == current {
		return nil
	}
	for _, step := range steps[version-1:] {
		step(t)
	}
	if o != nil {
		o.Values = []Value{{strconv.Itoa(current), o.Values[0].At}}
	}
	return nil
}

// version returns the option main.version, or nil.
func (t *Tree) version() *Option {
	if s := t.section("b4", "main"); s != nil {
		return s.option("version")
	}
	return nil
}
