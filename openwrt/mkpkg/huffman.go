package main

import (
	"cmp"
	"math/bits"
	"slices"
)

// Blocks of a deflate stream with codes of their own (RFC 1951, section 3.2.7).

const (
	litSymbols  = 286 // bytes, the end of a block, and lengths
	distSymbols = 30
	endOfBlock  = 256
	maxBits     = 15
	maxCodeBits = 7 // of the code for the lengths of codes
)

// A token is a byte, or a length of at least 3 and a distance.
type token struct {
	length uint16 // 0: a byte
	value  uint16 // the byte, or the distance
}

// An extra says how many bits follow a symbol, and which value it stands for if
// they are zero (section 3.2.5).
type extra struct {
	bits uint8
	base uint16
}

var (
	lengthExtra [29]extra
	distExtra   [distSymbols]extra
	lengthSym   [maxMatch + 1]uint16 // less 257
	distSym     [window + 1]uint8
)

func init() {
	base := uint16(minMatch)
	for i := range lengthExtra {
		e := extra{0, base}
		if i >= 8 {
			e.bits = uint8(i/4 - 1)
		}
		if i == len(lengthExtra)-1 {
			e = extra{0, maxMatch}
		}
		lengthExtra[i] = e
		for n := int(e.base); n < int(e.base)+1<<e.bits && n <= maxMatch; n++ {
			lengthSym[n] = uint16(i)
		}
		base += 1 << e.bits
	}
	at := 1
	for i := range distExtra {
		e := extra{0, uint16(at)}
		if i >= 4 {
			e.bits = uint8(i/2 - 1)
		}
		distExtra[i] = e
		for n := at; n < at+1<<e.bits; n++ {
			distSym[n] = uint8(i)
		}
		at += 1 << e.bits
	}
}

// A histogram counts the symbols of a block.
type histogram struct {
	lit  [litSymbols]uint32
	dist [distSymbols]uint32
}

func (h *histogram) add(t token) {
	if t.length == 0 {
		h.lit[t.value]++
		return
	}
	h.lit[257+lengthSym[t.length]]++
	h.dist[distSym[t.value]]++
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.lit {
		h.lit[i] += n
	}
	for i, n := range o.dist {
		h.dist[i] += n
	}
}

// codeLengths returns the lengths of the best prefix code of at most limit bits
// for symbols that occur so often (package-merge). A code has two symbols at
// least: some readers want that.
func codeLengths(counts []uint32, limit int) []uint8 {
	type pack struct {
		weight uint64
		syms   []uint16 // with repetition
	}
	lengths := make([]uint8, len(counts))
	var leaves []pack
	for sym, n := range counts {
		if n > 0 {
			leaves = append(leaves, pack{uint64(n), []uint16{uint16(sym)}})
		}
	}
	for sym := 0; len(leaves) < 2; sym++ {
		if counts[sym] == 0 {
			leaves = append(leaves, pack{0, []uint16{uint16(sym)}})
		}
	}
	byWeight := func(a, b pack) int { return cmp.Compare(a.weight, b.weight) }
	slices.SortStableFunc(leaves, byWeight)
	row := leaves
	for range limit - 1 {
		next := slices.Clone(leaves)
		for i := 0; i+1 < len(row); i += 2 {
			next = append(next, pack{row[i].weight + row[i+1].weight, slices.Concat(row[i].syms, row[i+1].syms)})
		}
		slices.SortStableFunc(next, byWeight)
		row = next
	}
	for _, p := range row[:2*len(leaves)-2] {
		for _, sym := range p.syms {
			lengths[sym]++
		}
	}
	return lengths
}

// codes returns the canonical code for lengths, each with its bits in the order
// in which they are written (section 3.2.2).
func codes(lengths []uint8) []uint16 {
	var count, next [maxBits + 2]uint16
	for _, n := range lengths {
		if n > 0 {
			count[n]++
		}
	}
	for n := 1; n <= maxBits; n++ {
		next[n+1] = (next[n] + count[n]) << 1
	}
	all := make([]uint16, len(lengths))
	for sym, n := range lengths {
		if n > 0 {
			all[sym] = bits.Reverse16(next[n]) >> (16 - n)
			next[n]++
		}
	}
	return all
}

// A bitWriter appends bits, the lowest first.
type bitWriter struct {
	out  []byte
	held uint64
	n    uint
}

func (w *bitWriter) put(v uint64, n uint) {
	w.held |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.held))
		w.held >>= 8
	}
}

// bytes returns what was written, with the last byte filled up.
func (w *bitWriter) bytes() []byte {
	if w.n > 0 {
		w.put(0, 8-w.n)
	}
	return w.out
}

// codeOrder is the order of the lengths of the code for lengths.
var codeOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// A repeat is a symbol of the code for lengths: a length, or the repetition of the
// one before (16), or of zeros (17, 18).
type repeat struct {
	sym   uint8
	bits  uint
	value uint64
}

// repeats shortens lengths by repetitions.
func repeats(lengths []uint8) []repeat {
	var all []repeat
	for i := 0; i < len(lengths); {
		v, n := lengths[i], 1
		for i+n < len(lengths) && lengths[i+n] == v {
			n++
		}
		i += n
		if v != 0 {
			all = append(all, repeat{sym: v})
			n--
		}
		for n > 0 {
			switch {
			case v == 0 && n >= 11:
				take := min(n, 138)
				all = append(all, repeat{18, 7, uint64(take - 11)})
				n -= take
			case v == 0 && n >= 3:
				all = append(all, repeat{17, 3, uint64(n - 3)})
				n = 0
			case n >= 3:
				take := min(n, 6)
				all = append(all, repeat{16, 2, uint64(take - 3)})
				n -= take
			default:
				all = append(all, repeat{sym: v})
				n--
			}
		}
	}
	return all
}

// block writes tokens as one block.
func (w *bitWriter) block(tokens []token, last bool) {
	var h histogram
	for _, t := range tokens {
		h.add(t)
	}
	h.lit[endOfBlock] = 1
	litLens, distLens := codeLengths(h.lit[:], maxBits), codeLengths(h.dist[:], maxBits)
	w.put(uint64(b2i(last)), 1)
	w.put(2, 2) // with codes of its own
	w.codes(litLens, distLens)

	lit, dist := codes(litLens), codes(distLens)
	for _, t := range tokens {
		if t.length == 0 {
			w.put(uint64(lit[t.value]), uint(litLens[t.value]))
			continue
		}
		l, d := lengthSym[t.length], distSym[t.value]
		w.put(uint64(lit[257+l]), uint(litLens[257+l]))
		w.put(uint64(t.length-lengthExtra[l].base), uint(lengthExtra[l].bits))
		w.put(uint64(dist[d]), uint(distLens[d]))
		w.put(uint64(t.value-distExtra[d].base), uint(distExtra[d].bits))
	}
	w.put(uint64(lit[endOfBlock]), uint(litLens[endOfBlock]))
}

// codes writes the two codes of a block.
func (w *bitWriter) codes(litLens, distLens []uint8) {
	lits, dists := trimmed(litLens, 257), trimmed(distLens, 1)
	all := repeats(slices.Concat(lits, dists))
	counts := make([]uint32, len(codeOrder))
	for _, r := range all {
		counts[r.sym]++
	}
	lens := codeLengths(counts, maxCodeBits)
	n := len(codeOrder)
	for n > 4 && lens[codeOrder[n-1]] == 0 {
		n--
	}
	w.put(uint64(len(lits)-257), 5)
	w.put(uint64(len(dists)-1), 5)
	w.put(uint64(n-4), 4)
	for _, sym := range codeOrder[:n] {
		w.put(uint64(lens[sym]), 3)
	}
	code := codes(lens)
	for _, r := range all {
		w.put(uint64(code[r.sym]), uint(lens[r.sym]))
		w.put(r.value, r.bits)
	}
}

// trimmed cuts zeros off the end, but leaves n lengths.
func trimmed(lengths []uint8, n int) []uint8 {
	end := len(lengths)
	for end > n && lengths[end-1] == 0 {
		end--
	}
	return lengths[:end]
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
