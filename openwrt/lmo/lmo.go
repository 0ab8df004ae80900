// Package lmo makes LuCI's translations: it reads gettext's catalogues and
// writes them as LuCI's po2lmo does (modules/luci-base/src/po2lmo.c), to the
// byte. A text is known by a hash of what it translates.
package lmo

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Hash returns LuCI's hash of a text: Paul Hsieh's SuperFastHash over its bytes,
// begun with their number (sfh_hash of modules/luci-base/src/lib/lmo.c, sfh of
// cbi.js). That of no bytes is 0.
func Hash(s string) uint32 {
	if s == "" {
		return 0
	}
	pair := func(s string) uint32 { return uint32(s[0]) | uint32(s[1])<<8 }
	signed := func(c byte) uint32 { return uint32(int8(c)) }

	h := uint32(len(s))
	for ; len(s) >= 4; s = s[4:] {
		h += pair(s)
		h = h<<16 ^ pair(s[2:])<<11 ^ h
		h += h >> 11
	}
	switch len(s) {
	case 3:
		h += pair(s)
		h ^= h << 16
		h ^= signed(s[2]) << 18
		h += h >> 11
	case 2:
		h += pair(s)
		h ^= h << 11
		h += h >> 17
	case 1:
		h += signed(s[0])
		h ^= h << 10
		h += h >> 1
	}
	h ^= h << 3
	h += h >> 5
	h ^= h << 4
	h += h >> 17
	h ^= h << 25
	h += h >> 6
	return h
}

// maxKey is the longest text in bytes that po2lmo makes a hash of.
const maxKey = 4095

// pluralHash is in place of a hash for the rule that chooses a plural form.
const pluralHash = 0

// A pair is a translation and the hash by which it is found.
type pair struct {
	hash  uint32
	text  string
	forms uint32 // how many the message has; 0 of the rule for plurals
	line  int
}

// pairs returns what po2lmo keeps, in the order of the messages: a message whose
// first form is there, but for texts that are the same in both languages.
func pairs(all []Message) ([]pair, error) {
	var ps []pair
	lines := map[uint32]int{}
	add := func(p pair) error {
		if other, ok := lines[p.hash]; ok {
			return fmt.Errorf("line %d: has the same hash as line %d", p.line, other)
		}
		lines[p.hash] = p.line
		ps = append(ps, p)
		return nil
	}
	for i := range all {
		m := &all[i]
		if m.ID == "" {
			if rule := m.pluralRule(); rule != "" {
				if err := add(pair{pluralHash, rule, 0, m.Line}); err != nil {
					return nil, err
				}
			}
			continue
		}
		if m.Text[0] == "" {
			continue
		}
		for form, text := range m.Text {
			key := m.key(form)
			if len(key) > maxKey {
				return nil, fmt.Errorf("line %d: more than %d bytes to translate", m.Line, maxKey)
			}
			p := pair{Hash(key), raw(text), uint32(len(m.Text)), m.Line}
			if text == "" || p.hash == Hash(p.text) {
				continue
			}
			if err := add(p); err != nil {
				return nil, err
			}
		}
	}
	return ps, nil
}

// key is what a form of m is known by.
func (m *Message) key(form int) string {
	key := raw(m.ID)
	if m.Context != "" {
		key = raw(m.Context) + "\x01" + key
	}
	if m.Plural != "" {
		key += "\x02" + strconv.Itoa(form)
	}
	return key
}

// raw returns s as po2lmo reads it: of all escapes it knows quotes and
// backslashes, others stay two characters.
func raw(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(s)
}

// pluralRule returns the rule of a header that chooses a plural form, "" if it has none.
func (m *Message) pluralRule() string {
	const name = "Plural-Forms: "
	fields := strings.Split(m.Text[0], "\n")
	for _, field := range fields[:len(fields)-1] {
		if len(field) >= len(name) && strings.EqualFold(field[:len(name)], name) {
			return raw(field[len(name):])
		}
	}
	return ""
}

// Encode returns a catalogue as an .lmo file, nil if it translates nothing: the
// texts, then an index of them sorted by hash, then where that begins, all in
// words of 4 bytes, big-endian. Where two texts have one hash it fails.
func Encode(all []Message) ([]byte, error) {
	ps, err := pairs(all)
	if err != nil || len(ps) == 0 {
		return nil, err
	}
	type entry struct{ hash, forms, offset, length uint32 }
	var (
		file  []byte
		index []entry
	)
	for _, p := range ps {
		index = append(index, entry{p.hash, p.forms, uint32(len(file)), uint32(len(p.text))})
		file = append(file, p.text...)
		file = append(file, make([]byte, -len(p.text)&3)...)
	}
	slices.SortFunc(index, func(a, b entry) int { return cmp.Compare(a.hash, b.hash) })
	at := uint32(len(file))
	for _, e := range index {
		for _, word := range []uint32{e.hash, e.forms, e.offset, e.length} {
			file = binary.BigEndian.AppendUint32(file, word)
		}
	}
	return binary.BigEndian.AppendUint32(file, at), nil
}

// Table returns the translations as LuCI's pages have them in window.TR: by hash
// in 8 hex digits, 00000000 for the rule that chooses a plural form. Where two
// texts have one hash it fails.
func Table(all []Message) (map[string]string, error) {
	ps, err := pairs(all)
	if err != nil {
		return nil, err
	}
	table := make(map[string]string, len(ps))
	for _, p := range ps {
		table[fmt.Sprintf("%08x", p.hash)] = p.text
	}
	return table, nil
}
