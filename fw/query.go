package fw

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// A word is a quarter of a register.
type word struct {
	known   bool
	data    [4]byte
	notZero bool   // not known, but not 0
	what    string // not known: whose property it is, in words
}

// A query goes through the conditions of one rule.
type query struct {
	know  *knowledge
	rules *ruleset
	table foreignTable
	regs  [20]word // of struct nft_regs; the first four are the verdict

	no   bool   // a condition does not hold
	some string // a condition may hold: for whom, in words
}

// at returns the words of a register from its number on, as nft_parse_register
// takes it: NFT_REG_1 to 4 have 16 bytes, NFT_REG32_00 to 15 have 4.
func (q *query) at(reg uint32, n int) []word {
	first := -1
	switch {
	case reg >= unix.NFT_REG_1 && reg <= unix.NFT_REG_4:
		first = 4 * int(reg)
	case reg >= unix.NFT_REG32_00 && reg <= unix.NFT_REG32_15:
		first = int(reg) - unix.NFT_REG32_00 + 4
	}
	if first < 0 || n < 1 || n > 4*(len(q.regs)-first) {
		return nil
	}
	return q.regs[first : first+(n+3)/4]
}

// set stores what is known.
func (q *query) set(reg uint32, value []byte) {
	for i := range q.at(reg, len(value)) {
		w := word{known: true}
		copy(w.data[:], value[4*i:])
		q.at(reg, len(value))[i] = w
	}
}

// guess stores that what n bytes hold is not known.
func (q *query) guess(reg uint32, n int, w word) {
	for i := range q.at(reg, n) {
		q.at(reg, n)[i] = w
	}
}

// get returns n bytes, nil if they are not known.
func (q *query) get(reg uint32, n int) []byte {
	var b []byte
	for _, w := range q.at(reg, n) {
		if !w.known {
			return nil
		}
		b = append(b, w.data[:]...)
	}
	if len(b) < n {
		return nil
	}
	return b[:n]
}

// what says whose property is in a register.
func (q *query) what(reg uint32) string {
	for _, w := range q.at(reg, 4) {
		if !w.known && w.what != "" {
			return w.what
		}
	}
	return "packets"
}

// addr reads an address that was loaded as a constant.
func (q *query) addr(reg uint32) (string, bool) {
	n := 4
	if q.know.v6 {
		n = 16
	}
	a, ok := netip.AddrFromSlice(q.get(reg, n))
	return a.String(), ok
}

// maybe says that what follows is only for some.
func (q *query) maybe(what string) {
	if q.some == "" {
		q.some = what
	}
}

// holds is a condition whose outcome is known.
func (q *query) holds(ok bool) { q.no = q.no || !ok }

// harmless are the expressions, and targets of iptables, that neither decide nor
// load anything.
var harmless = []string{
	"counter", "log", "last", "notrack", "dup", "flow_offload", "synproxy", "secmark", "tunnel",
	"LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "TCPMSS", "CLASSIFY", "CT", "NOTRACK", "DSCP", "TOS", "TTL", "HL", "CHECKSUM", "AUDIT", "SET",
}

// take looks at one expression that does not end the rule.
func (q *query) take(name string, a attrs) {
	switch name {
	case "meta":
		q.meta(a)
	case "ct":
		q.ct(a)
	case "payload":
		q.payload(a)
	case "rt":
		q.rt(a)
	case "immediate":
		q.set(a.num(unix.NFTA_IMMEDIATE_DREG), a.value(unix.NFTA_IMMEDIATE_DATA))
	case "bitwise":
		q.bitwise(a)
	case "byteorder":
		q.byteorder(a)
	case "cmp":
		q.cmp(a)
	case "range":
		q.within(a)
	case "lookup":
		q.find(a)
	case "match":
		q.match(a)
	case "objref":
		q.object(a)
	case "exthdr":
		const sreg = 7 // NFTA_EXTHDR_SREG: it writes
		if !a.has(sreg) {
			q.load(a.num(unix.NFTA_EXTHDR_DREG), word{what: "packets"})
		}
	case "fib":
		q.load(a.num(unix.NFTA_FIB_DREG), word{what: "addresses"})
	case "target":
		if !slices.Contains(harmless, a.text(unix.NFTA_TARGET_NAME)) {
			q.maybe("packets")
		}
	case "limit", "quota", "connlimit":
		q.maybe("packets")
	default:
		q.other(name, a)
	}
}

// other is an expression that this package has no name for: as a rule it loads
// something into its attribute 1 or 2.
func (q *query) other(name string, a attrs) {
	if slices.Contains(harmless, name) {
		return
	}
	for i := range q.regs {
		q.regs[i] = word{what: "packets"}
	}
	q.maybe("packets")
}

func (q *query) bitwise(a attrs) {
	const op, maskXor = 6, 0 // NFTA_BITWISE_OP, NFT_BITWISE_MASK_XOR
	sreg, dreg := a.num(unix.NFTA_BITWISE_SREG), a.num(unix.NFTA_BITWISE_DREG)
	mask, xor := a.value(unix.NFTA_BITWISE_MASK), a.value(unix.NFTA_BITWISE_XOR)
	v := q.get(sreg, len(mask))
	if v == nil || len(xor) != len(mask) || a.num(op) != maskXor {
		q.load(dreg, word{what: q.what(sreg)})
		return
	}
	for i := range v {
		v[i] = v[i]&mask[i] ^ xor[i]
	}
	q.set(dreg, v)
}

func (q *query) byteorder(a attrs) {
	sreg, dreg := a.num(unix.NFTA_BYTEORDER_SREG), a.num(unix.NFTA_BYTEORDER_DREG)
	n, size := int(min(a.num(unix.NFTA_BYTEORDER_LEN), 64)), int(a.num(unix.NFTA_BYTEORDER_SIZE))
	v := q.get(sreg, n)
	if v == nil || size < 1 || n%size != 0 {
		q.load(dreg, word{what: q.what(sreg)})
		return
	}
	if binary.NativeEndian.Uint16([]byte{0, 1}) != 1 { // a little-endian host
		for i := 0; i < n; i += size {
			slices.Reverse(v[i : i+size])
		}
	}
	q.set(dreg, v)
}

func (q *query) cmp(a attrs) {
	reg, op, want := a.num(unix.NFTA_CMP_SREG), a.num(unix.NFTA_CMP_OP), a.value(unix.NFTA_CMP_DATA)
	v := q.get(reg, len(want))
	if v == nil {
		w := q.at(reg, 4)
		if len(w) > 0 && w[0].notZero && len(want) == 4 && !bytes.ContainsFunc(want, func(r rune) bool { return r != 0 }) {
			q.holds(op == unix.NFT_CMP_NEQ || op == unix.NFT_CMP_GT)
			return
		}
		q.maybe(q.what(reg))
		return
	}
	c := bytes.Compare(v, want)
	switch op {
	case unix.NFT_CMP_EQ:
		q.holds(c == 0)
	case unix.NFT_CMP_NEQ:
		q.holds(c != 0)
	case unix.NFT_CMP_LT:
		q.holds(c < 0)
	case unix.NFT_CMP_LTE:
		q.holds(c <= 0)
	case unix.NFT_CMP_GT:
		q.holds(c > 0)
	case unix.NFT_CMP_GTE:
		q.holds(c >= 0)
	}
}

func (q *query) within(a attrs) {
	reg, from, to := a.num(unix.NFTA_RANGE_SREG), a.value(unix.NFTA_RANGE_FROM_DATA), a.value(unix.NFTA_RANGE_TO_DATA)
	v := q.get(reg, len(from))
	if v == nil {
		q.maybe(q.what(reg))
		return
	}
	inside := bytes.Compare(v, from) >= 0 && bytes.Compare(v, to) <= 0
	q.holds(inside == (a.num(unix.NFTA_RANGE_OP) == unix.NFT_RANGE_EQ))
}

// find is a lookup in a set, or in a map whose data go to a register.
func (q *query) find(a attrs) {
	found, sure := q.lookup(a)
	what, dreg := q.what(a.num(unix.NFTA_LOOKUP_SREG)), a.num(unix.NFTA_LOOKUP_DREG)
	inverted := a.num(unix.NFTA_LOOKUP_FLAGS)&unix.NFT_LOOKUP_F_INV != 0
	switch {
	case !sure:
		q.load(dreg, word{what: what})
		q.maybe(what)
	case dreg != 0 && len(found) > 0:
		q.set(dreg, found[0].data)
	default:
		q.holds(len(found) > 0 != inverted)
	}
}

// lookup returns the elements that a register may name: if it is sure, one or
// none.
func (q *query) lookup(a attrs) (found []element, sure bool) {
	reg, dreg := a.num(unix.NFTA_LOOKUP_SREG), a.get(unix.NFTA_LOOKUP_DREG)
	if q.get(reg, 1) == nil && dreg == nil {
		return nil, false // a set may be long: nothing would come of it
	}
	all, err := q.rules.elements(q.table, a.text(unix.NFTA_LOOKUP_SET))
	if err != nil {
		return nil, false
	}
	const catchAll = 2 // NFT_SET_ELEM_CATCHALL
	var rest, best []element
	ranges := false
	for _, e := range all {
		if e.flags&catchAll != 0 {
			rest = []element{e}
			continue
		}
		v := q.get(reg, len(e.key))
		if v == nil || e.ranged {
			return all, false
		}
		ranges = ranges || e.end()
		if bytes.Compare(e.key, v) <= 0 && (len(best) == 0 || e.after(best[0])) {
			best = []element{e}
		}
	}
	if len(best) > 0 && (ranges && !best[0].end() || !ranges && bytes.Equal(best[0].key, q.get(reg, len(best[0].key)))) {
		return best, true
	}
	return rest, true
}

// after reports whether e decides about what is behind both keys. Where two
// ranges touch, that is the one which begins.
func (e *element) after(o element) bool {
	c := bytes.Compare(e.key, o.key)
	return c > 0 || c == 0 && o.end()
}

// end reports whether e is the first key behind a range.
func (e *element) end() bool { return e.flags&unix.NFT_SET_ELEM_INTERVAL_END != 0 }

// match is a condition of iptables.
func (q *query) match(a attrs) {
	info := a.get(unix.NFTA_MATCH_INFO)
	switch name := a.text(unix.NFTA_MATCH_NAME); {
	case name == "comment":
	case (name == "mark" || name == "connmark") && a.num(unix.NFTA_MATCH_REV) == 1 && len(info) >= 9:
		// struct xt_mark_mtinfo1: mark, mask, whether it is inverted. There
		// is no mark, so the mask does not matter.
		q.holds(binary.NativeEndian.Uint32(info) == 0 != (info[8] != 0))
	case name == "conntrack" || name == "state":
		q.maybe("connections")
	case name == "addrtype" || name == "set":
		q.maybe("addresses")
	default:
		q.maybe("packets")
	}
}

// object is a reference to an object: only some of them decide something.
func (q *query) object(a attrs) {
	const imm, quota, limit, connLimit = 1, 2, 4, 5 // NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_*
	switch a.num(imm) {
	case 0, quota, limit, connLimit:
		q.maybe("packets")
	}
}
