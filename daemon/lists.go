package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"b4/match"
	"b4/uci"
)

// maxListLine bounds a line of a list, in bytes.
const maxListLine = 4096

// maxPayload bounds a file that a strategy names, in bytes.
const maxPayload = 64 << 10

// openRegular opens a file to be read whole. What is no regular file might never
// end, or never begin, and a device does something when it is opened.
func openRegular(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.Open(path)
}

// readPayload reads a file that a strategy names.
func readPayload(path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("want an absolute path")
	}
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPayload))
}

// readList reads a list: one entry a line, '#' begins a comment. One bad line
// refuses the file.
func readList(path string, each func(text string) error) error {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxListLine)
	n := 0
	for sc.Scan() {
		n++
		text, _, _ := strings.Cut(sc.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if err := each(text); err != nil {
			return fail("line", "%s:%d: %w", path, n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, n+1, err)
	}
	return nil
}

// readHosts reads a list of host names, and of addresses and networks of servers.
func readHosts(path string, name func(string) error, network func(netip.Prefix)) error {
	return readList(path, func(text string) error {
		if !isAddress(text) {
			return name(text)
		}
		p, err := uci.ParseNetwork(text)
		if err != nil {
			return fmt.Errorf("%q %w", text, err)
		}
		network(p)
		return nil
	})
}

// readNever reads the file of hosts that are never touched. The default one may be
// missing.
func (s *settings) readNever() error {
	const option = "main.never"
	var names match.Builder
	err := readHosts(s.conf.Main.Never, func(text string) error {
		if text == "*" {
			return errors.New(`"*" would leave nothing to b4: set main.enabled to 0 for that`)
		}
		return names.Add(text)
	}, func(p netip.Prefix) { s.who.never = append(s.who.never, p) })
	named := s.conf.Place(option) != uci.Place{}
	if err != nil && (named || !errors.Is(err, fs.ErrNotExist)) {
		return s.wrong(option, err)
	}
	s.pipe.Never = names.Set()
	return nil
}

// isAddress tells an address or a network from a name: a top-level domain begins
// with a letter (RFC 3696 section 2).
func isAddress(text string) bool {
	last := text[strings.LastIndexByte(text, '.')+1:]
	return strings.ContainsAny(text, ":/") || last != "" && '0' <= last[0] && last[0] <= '9'
}
