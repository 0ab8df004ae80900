package uci

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A value is one value of an option, read as its field says.
type value struct {
	b    bool
	n    uint64
	s    string
	p    netip.Prefix // of an Addr, too, with all its bits
	mac  [6]byte
	note string // a warning
}

// parse reads one value. The error says what is wrong, not where.
func (f *Field) parse(text string) (value, error) {
	v, ok := value{s: text}, false
	switch f.Kind {
	case Bool:
		v.b, ok = parseBool(text)
	case Uint:
		v.n, ok = f.number(text, 10)
	case Table:
		v.n, ok = f.number(text, 10)
		if what := systemTables[v.n]; what != "" {
			return value{}, fmt.Errorf("%s is the table %s: want %s", quote(text), what, f.Want())
		}
	case Prefix, Addr:
		var err error
		if v.p, err = f.address(text); err != nil {
			return value{}, fmt.Errorf("%s %w: want %s", quote(text), err, f.Want())
		}
		ok = true
	case Network:
		var err error
		if v.p, v.note, err = parseNetwork(text); err != nil {
			return value{}, fmt.Errorf("%s %w: want %s", quote(text), err, f.Want())
		}
		ok = true
	case MAC:
		v.mac, ok = parseMAC(text)
	case Device:
		ok = f.fits(text) && isDevice(text)
	case Mark:
		hex, prefixed := strings.CutPrefix(strings.ToLower(text), "0x")
		v.n, ok = f.number(hex, 16)
		ok = ok && prefixed && v.n&(v.n-1) == 0
	case Enum:
		ok = slices.Contains(f.Values, text)
	case Interface:
		ok = text != "" && f.fits(text) && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == '/' })
	case Path:
		ok = strings.HasPrefix(text, "/") && f.fits(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' })
	case Text:
		v.s = strings.Join(strings.Fields(text), " ")
		ok = f.fits(v.s) && !strings.ContainsFunc(v.s, func(r rune) bool { return r < ' ' || r == 0x7f })
	case Domain:
		var err error
		if v.s, err = normalise(text); err != nil {
			return value{}, err
		}
		ok = true
		if !isASCII(v.s) {
			v.note = "on the wire names are ASCII, so this one never matches: write its xn-- form"
		}
	}
	if !ok {
		return value{}, fmt.Errorf("%s: want %s", quote(text), f.Want())
	}
	return v, nil
}

func (f *Field) number(text string, base int) (uint64, bool) {
	n, err := strconv.ParseUint(text, base, 64)
	return n, err == nil && (f.Min <= n && n <= f.Max || n == 0 && f.Zero != "")
}

func (f *Field) fits(text string) bool { return uint64(len(text)) <= f.Max }

// store puts values where the field says: all of a list, without those that
// are there twice, and the last otherwise.
func (f *Field) store(t *target, vs []value) {
	last := vs[len(vs)-1]
	switch p := f.into(t).(type) {
	case *bool:
		*p = last.b
	case *int:
		*p = int(last.n)
	case *uint16:
		*p = uint16(last.n)
	case *uint32:
		*p = uint32(last.n)
	case *string:
		*p = last.s
	case *netip.Prefix:
		*p = last.p
	case *netip.Addr:
		*p = last.p.Addr()
	case *[]string:
		*p = distinct(vs, func(v value) string { return v.s })
	case *[][6]byte:
		*p = distinct(vs, func(v value) [6]byte { return v.mac })
	case *[]netip.Prefix:
		*p = distinct(vs, func(v value) netip.Prefix { return v.p })
	case *[]uint16:
		*p = distinct(vs, func(v value) uint16 { return uint16(v.n) })
	}
}

func distinct[T comparable](vs []value, get func(value) T) []T {
	seen := make(map[T]bool, len(vs))
	var list []T
	for _, v := range vs {
		if x := get(v); !seen[x] {
			seen[x] = true
			list = append(list, x)
		}
	}
	return list
}

const (
	maxName  = 253 // bytes of a name without the root's dot, RFC 1035 section 2.3.4
	maxLabel = 63  // RFC 1035 section 2.3.4
)

// normalise brings a name as people write it to the form names are compared
// in: ASCII letters in lower case, no "*." or "." ahead, no dot behind. "*"
// stays. What is no name is an error that says what to write.
func normalise(text string) (string, error) {
	if text == allNames {
		return text, nil
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == ',' }) {
		return "", fmt.Errorf("%s has blanks or commas: write each name on a list line of its own", quote(text))
	}
	if host := hostOf(text); host != text {
		if name, err := normalise(host); err == nil {
			return "", fmt.Errorf("%s is more than a name: write %q", quote(text), name)
		}
		return "", fmt.Errorf("%s is not a name: want one such as example.org", quote(text))
	}
	name := strings.TrimPrefix(strings.TrimPrefix(text, "*."), ".")
	name = strings.TrimSuffix(strings.Map(lower, name), ".")
	if len(name) > maxName {
		return "", fmt.Errorf("%s has more than %d bytes", quote(text), maxName)
	}
	for rest, label, more := name, "", true; more; {
		label, rest, more = strings.Cut(rest, ".")
		if err := checkLabel(label); err != nil {
			return "", fmt.Errorf("%s %w", quote(text), err)
		}
	}
	return name, nil
}

// hostOf cuts a URL, or a host with its port, down to the host. It is "" where
// that is no name.
func hostOf(text string) string {
	if _, rest, ok := strings.Cut(text, "://"); ok {
		text = rest
	}
	host, _, _ := strings.Cut(text, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	host, port, _ := strings.Cut(host, ":")
	if strings.Contains(port, ":") {
		return "" // an IPv6 address
	}
	return host
}

func checkLabel(label string) error {
	if label == "" {
		return errors.New("has an empty label: want a name such as example.org")
	}
	if len(label) > maxLabel {
		return fmt.Errorf("has a label of more than %d bytes", maxLabel)
	}
	for _, r := range label {
		if r == '*' {
			return errors.New("has a * in its midst: a name stands for all names below it anyway")
		}
		if r < 0x80 && !isName(string(r), "-") {
			return fmt.Errorf("has %q, which no name has", r)
		}
	}
	return nil
}

func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
