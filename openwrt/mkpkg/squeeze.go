package main

import (
	"math"
	"math/bits"
	"slices"
)

const (
	minMatch = 3
	maxMatch = 258
	window   = 1 << 15

	// Measured on b4d: a block is cut to a multiple of unit tokens, each block is gone
	// over passes times. Each position has maxShort candidates for a match, and of
	// those that are farther away maxLong which have longMatch bytes in common with
	// it. More of each takes longer than it saves.
	unit      = 256
	passes    = 4
	maxShort  = 64
	maxLong   = 2000
	longMatch = 6
	hashBits  = 16

	// costOne is one bit, in the fixed point of costs: integers, so that every
	// machine finds the same way.
	costOne = 1 << 10
)

// squeeze returns b, which is not empty, as a deflate stream. It is a twentieth
// shorter than that of compress/flate and takes ten times as long: b4d has to be
// small to download. squeeze looks for the cheapest way through all matches of a
// block, where the costs are those of the codes that the way before had, and cuts
// blocks where other codes pay.
func squeeze(b []byte) []byte {
	m := findMatches(b)
	// The first round finds where to cut.
	whole := m.parse(0, len(b), flatCosts())
	var w bitWriter
	var cut []token
	m.improveAll(split(whole), func(tokens []token, _ bool) { cut = append(cut, tokens...) })
	m.improveAll(split(cut), w.block)
	return w.bytes()
}

// improveAll hands a shorter way through each block to then.
func (m *matches) improveAll(blocks [][]token, then func(tokens []token, last bool)) {
	at := 0
	for i, tokens := range blocks {
		end := at + span(tokens)
		then(m.improve(at, end, tokens), i == len(blocks)-1)
		at = end
	}
}

// span returns how many bytes tokens stand for.
func span(tokens []token) int {
	n := 0
	for _, t := range tokens {
		n += max(1, int(t.length))
	}
	return n
}

// matches are, for each position of b, the longest matches from near to far:
// only those that are longer than all nearer ones.
type matches struct {
	b     []byte
	start []int32 // where a position's matches begin in found
	found []token
}

func findMatches(b []byte) *matches {
	m := &matches{b: b, start: make([]int32, len(b)+1)}
	short, long := newChains(minMatch), newChains(longMatch)
	for i := range b {
		m.start[i] = int32(len(m.found))
		near, far := short.add(b, i), long.add(b, i)
		best, at := m.search(i, near, minMatch-1, maxShort, short)
		for far >= at && far >= 0 {
			far = long.before(far)
		}
		m.search(i, far, max(best, longMatch-1), maxLong, long)
	}
	m.start[len(b)] = int32(len(m.found))
	return m
}

// chains lead from a position to those before that begin with the same bytes.
type chains struct {
	bytes int
	head  []int32 // 1 + the last position of a hash
	prev  []int32 // the one before, by position
}

func newChains(bytes int) *chains {
	return &chains{bytes, make([]int32, 1<<hashBits), make([]int32, window)}
}

// add adds position i and returns the one before, -1 if there is none.
func (c *chains) add(b []byte, i int) int {
	if i+c.bytes > len(b) {
		return -1
	}
	var h uint64
	for _, v := range b[i : i+c.bytes] {
		h = h<<8 | uint64(v)
	}
	h = h * 0x9e3779b97f4a7c15 >> (64 - hashBits)
	before := c.head[h]
	c.prev[i%window] = before
	c.head[h] = int32(i + 1)
	return int(before) - 1
}

// before returns the position before i, -1 if there is none.
func (c *chains) before(i int) int {
	if p := int(c.prev[i%window]) - 1; p < i {
		return p
	}
	return -1
}

// search appends the matches of position i that are longer than best, from
// candidate on. It returns the longest one's length and where it has come to.
func (m *matches) search(i, candidate, best, tries int, c *chains) (int, int) {
	b := m.b
	limit := min(maxMatch, len(b)-i)
	for n := 0; n < tries && candidate >= 0 && i-candidate <= window && best < limit; n++ {
		if b[candidate+best] == b[i+best] && b[candidate+best-1] == b[i+best-1] {
			length := 0
			for length < limit && b[candidate+length] == b[i+length] {
				length++
			}
			if length > best {
				best = length
				m.found = append(m.found, token{uint16(length), uint16(i - candidate)})
			}
		}
		candidate = c.before(candidate)
	}
	return best, candidate
}

// costs are what symbols cost, with the bits that follow them.
type costs struct {
	lit    [256]int32
	length [maxMatch + 1]int32
	dist   [distSymbols]int32
}

// flatCosts suit no data in particular.
func flatCosts() *costs {
	var c costs
	for i := range c.lit {
		c.lit[i] = 8 * costOne
	}
	for n := minMatch; n <= maxMatch; n++ {
		c.length[n] = int32(7+int(lengthExtra[lengthSym[n]].bits)) * costOne
	}
	for i := range c.dist {
		c.dist[i] = int32(5+int(distExtra[i].bits)) * costOne
	}
	return &c
}

// costs returns what the symbols of h would cost with the best code for them.
func (h *histogram) costs() *costs {
	var c costs
	lit, dist := entropy(h.lit[:]), entropy(h.dist[:])
	copy(c.lit[:], lit)
	for n := minMatch; n <= maxMatch; n++ {
		s := lengthSym[n]
		c.length[n] = lit[257+s] + int32(lengthExtra[s].bits)*costOne
	}
	for i := range c.dist {
		c.dist[i] = dist[i] + int32(distExtra[i].bits)*costOne
	}
	return &c
}

// entropy returns the cost of each symbol; one that does not occur costs a
// little more than one that occurs once.
func entropy(counts []uint32) []int32 {
	var total uint32
	for _, n := range counts {
		total += n
	}
	all := make([]int32, len(counts))
	for i, n := range counts {
		all[i] = max(costOne, log2(max(total, 1))-log2(max(n, 1)))
		if n == 0 {
			all[i] += costOne
		}
	}
	return all
}

const logBits = 10

var logTable = func() (t [1 << logBits]int32) {
	for i := range t {
		t[i] = int32(math.Round(costOne * math.Log2(1+float64(i)/(1<<logBits))))
	}
	return t
}()

// log2 returns the logarithm of n > 0 in the fixed point of costs.
func log2(n uint32) int32 {
	whole := bits.Len32(n) - 1
	rest := uint64(n)<<logBits>>whole - 1<<logBits
	return int32(whole)*costOne + logTable[rest]
}

// parse returns the cheapest tokens for b[from:to].
func (m *matches) parse(from, to int, c *costs) []token {
	n := to - from
	cost := make([]int64, n+1)
	step := make([]token, n+1) // the last token on the cheapest way to here
	for i := 1; i <= n; i++ {
		cost[i] = math.MaxInt64
	}
	reach := func(at int, v int64, t token) {
		if v < cost[at] {
			cost[at], step[at] = v, t
		}
	}
	for i := 0; i < n; i++ {
		found := m.found[m.start[from+i]:m.start[from+i+1]]
		if k := len(found); k > 0 && found[k-1].length == maxMatch {
			// Where much repeats itself the longest match is good enough.
			t := found[k-1]
			t.length = uint16(min(int(t.length), n-i))
			if t.length >= minMatch {
				reach(i+int(t.length), cost[i]+int64(c.length[t.length]+c.dist[distSym[t.value]]), t)
				i += int(t.length) - 1
				continue
			}
		}
		reach(i+1, cost[i]+int64(c.lit[m.b[from+i]]), token{0, uint16(m.b[from+i])})
		length := uint16(minMatch)
		for _, t := range found {
			far := cost[i] + int64(c.dist[distSym[t.value]])
			for ; length <= t.length && int(length) <= n-i; length++ {
				reach(i+int(length), far+int64(c.length[length]), token{length, t.value})
			}
		}
	}
	var tokens []token
	for at := n; at > 0; at -= max(1, int(step[at].length)) {
		tokens = append(tokens, step[at])
	}
	slices.Reverse(tokens)
	return tokens
}

// improve returns the shortest of some ways through b[from:to], of which tokens
// is one.
func (m *matches) improve(from, to int, tokens []token) []token {
	best, size := tokens, int64(math.MaxInt64)
	for range passes {
		var h histogram
		for _, t := range tokens {
			h.add(t)
		}
		h.lit[endOfBlock]++
		if s := h.size(); s < size {
			best, size = tokens, s
		}
		tokens = m.parse(from, to, h.costs())
	}
	return best
}

// size estimates the size of a block with h, in the fixed point of costs.
func (h *histogram) size() int64 {
	size := int64(100 * costOne) // what is in front of the codes
	for _, counts := range [][]uint32{h.lit[:], h.dist[:]} {
		for i, cost := range entropy(counts) {
			if n := counts[i]; n > 0 {
				size += int64(n)*int64(cost) + 4*costOne // and its length in the code
			}
		}
	}
	for s, e := range lengthExtra {
		size += int64(h.lit[257+s]) * int64(e.bits) * costOne
	}
	for s, e := range distExtra {
		size += int64(h.dist[s]) * int64(e.bits) * costOne
	}
	return size
}

// split cuts tokens into blocks. It starts from small ones and joins those two
// neighbours that gain most by it, until none does.
func split(tokens []token) [][]token {
	type part struct {
		tokens int
		h      histogram
		size   int64
		gain   int64 // of joining it with the next
	}
	var parts []*part
	for chunk := range slices.Chunk(tokens, unit) {
		p := &part{tokens: len(chunk)}
		for _, t := range chunk {
			p.h.add(t)
		}
		p.size = p.h.size()
		parts = append(parts, p)
	}
	weigh := func(i int) {
		if i < 0 || i+1 >= len(parts) {
			return
		}
		h := parts[i].h
		h.merge(&parts[i+1].h)
		parts[i].gain = parts[i].size + parts[i+1].size - h.size()
	}
	for i := range parts {
		weigh(i)
	}
	for len(parts) > 1 {
		best := 0
		for i := range parts[:len(parts)-1] {
			if parts[i].gain > parts[best].gain {
				best = i
			}
		}
		p, next := parts[best], parts[best+1]
		if p.gain <= 0 {
			break
		}
		p.h.merge(&next.h)
		p.size += next.size - p.gain
		p.tokens += next.tokens
		parts = slices.Delete(parts, best+1, best+2)
		weigh(best - 1)
		weigh(best)
	}
	blocks := make([][]token, 0, len(parts))
	for _, p := range parts {
		blocks = append(blocks, tokens[:p.tokens])
		tokens = tokens[p.tokens:]
	}
	return blocks
}
