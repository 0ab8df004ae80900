package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// ip4 is a packet of a flow from a port.
func ip4(port uint16) []byte {
	b := make([]byte, 40)
	b[0], b[9] = 0x45, 6
	copy(b[12:], []byte{192, 0, 2, 1, 198, 51, 100, 1})
	binary.BigEndian.PutUint16(b[20:], port)
	binary.BigEndian.PutUint16(b[22:], 443)
	return b
}

func ip6(port uint16) []byte {
	b := make([]byte, 60)
	b[0], b[6] = 0x60, 17
	b[8], b[24] = 0x20, 0x20
	binary.BigEndian.PutUint16(b[40:], port)
	binary.BigEndian.PutUint16(b[42:], 443)
	return b
}

func TestFlow(t *testing.T) {
	change := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	one := [][]byte{ip4(1), ip6(1)}
	for i, same := range [][]byte{
		change(ip4(1), 30, 9), // what is behind the ports
		change(ip6(1), 50, 9),
		append(ip4(1), 7),
		ip6(1)[:44],
		change(ip4(1), 6, 0x40), // may not be fragmented
	} {
		if f := Flow(same); f == 0 || f != Flow(one[0]) && f != Flow(one[1]) {
			t.Errorf("packet %d: another flow", i)
		}
	}
	seen := map[uint32]int{}
	for i, b := range [][]byte{
		ip4(1), ip4(2), change(ip4(1), 12, 10), change(ip4(1), 19, 2), change(ip4(1), 22, 9), change(ip4(1), 9, 17),
		ip6(1), ip6(2), change(ip6(1), 23, 1), change(ip6(1), 39, 1), change(ip6(1), 42, 9),
	} {
		seen[Flow(b)]++
		if seen[Flow(b)] > 1 && i != 5 { // the protocol is not told apart
			t.Errorf("packet %d has the flow of another", i)
		}
	}
	long := change(ip4(1), 0, 0x46)
	if Flow(long) == Flow(ip4(1)) || Flow(long) == 0 {
		t.Error("options are taken for ports")
	}
	for i, b := range [][]byte{
		nil, {0x45}, ip4(1)[:23], ip6(1)[:43], make([]byte, 60), change(ip4(1), 0, 0x44), change(ip4(1), 0, 0x4f),
		change(ip4(1), 6, 0x20), change(ip4(1), 7, 1), // fragments
		change(ip4(1), 9, 1), change(ip6(1), 6, 44), change(ip6(1), 6, 0), // ICMP, a fragment, options
	} {
		if f := Flow(b); f != 0 {
			t.Errorf("packet %d without ports: flow %#x", i, f)
		}
	}
}

// A script judges the packets of a burst in turn: a letter for each that is to be
// sent, capitals for others, and + for one that is replaced, - for one that is
// dropped.
type script struct {
	handler
	plans []string
	reset bool // each plan is written twice, and the first thrown away
}

func (s *script) Handle(_ time.Time, p *Packet, out *Batch) Verdict {
	plan := s.plans[p.ID-1]
	if s.reset {
		out.Add([]byte("to be forgotten"), Meta{})
		out.Reset()
	}
	for _, c := range strings.Trim(plan, "+-") {
		if c >= 'a' && out.Others() == 0 && out.Len() > 0 && out.At(out.Len() - 1).Bytes[0] < 'a' {
			out.Own()
		}
		out.Add([]byte{byte(c)}, p.Meta)
	}
	if strings.Trim(plan, "+-") == strings.ToUpper(strings.Trim(plan, "+-")) {
		out.Own()
	}
	switch {
	case strings.HasSuffix(plan, "+"):
		return Replace
	case strings.HasSuffix(plan, "-"):
		return Drop
	}
	return Accept
}

// A wire writes down what leaves: sends in parentheses, one for each call, flushes
// as |, verdicts by the packet's number.
type wire struct {
	log  strings.Builder
	fail string // letters whose send fails
}

func (w *wire) Send(outs []Out) (int, error) {
	w.log.WriteString("(")
	defer w.log.WriteString(")")
	for i, o := range outs {
		if strings.Contains(w.fail, string(o.Bytes)) {
			return i, errBroken
		}
		w.log.Write(o.Bytes)
	}
	return len(outs), nil
}

func (w *wire) Settle(p *Packet, v Verdict, payload []byte) error {
	fmt.Fprintf(&w.log, " %d%s%s", p.ID, []string{"", "-", "="}[v.Act()], payload)
	return nil
}

func (w *wire) Flush() error {
	w.log.WriteString("|")
	return nil
}

// What of a burst leaves together, and what must not.
func TestBurst(t *testing.T) {
	for _, c := range []struct {
		name  string
		flows string // a letter for each packet; a dot is one that cannot be told
		plans string
		fail  string
		want  string
		told  int
	}{
		{"each flow once", "abc", "ab+ cde+ f+", "", "(acd) 1=b 2=e 3=f|", 0},
		{"untouched ones between", "abca", "ab+ . cd+ .", "", "(ac) 1=b 2 3=d 4|", 0},
		{"a flow twice", "aba", "ab+ cd+ ef+", "", "(ac) 1=b 2=d|(e) 3=f|", 0},
		{"replaced behind an untouched one", "aab", ". ab+ cd+", "", " 1|(ac) 2=b 3=d|", 0},
		{"replaced by one piece behind an untouched one", "aa", ". a+", "", " 1 2=a|", 0},
		{"replaced behind a held one", "aab", "- ab+ cd+", "", "(ac) 1- 2=b 3=d|", 0},
		{"replaced behind what cannot be told", ".a", ". ab+", "", " 1|(a) 2=b|", 0},
		{"what cannot be told is replaced", "a.b", ". ab+ cd+", "", " 1|(a) 2=b|(c) 3=d|", 0},
		{"others leave", "abc", "ab+ C cd+", "", "(a) 1=b|(Cc) 2 3=d|", 0},
		{"others leave with a hello", "ab", "ab+ Ccd+", "", "(a) 1=b|(Cc) 2=d|", 0},
		{"a piece fails in the middle", "abc", "ab+ cde+ fg+", "c", "(a)(f) 1=b 2 3=g|", 1},
		{"a last piece fails", "abc", "ab+ cde+ fg+", "d", "(ac)(f) 1=b 2 3=g|", 1},
		{"the first fails", "abc", "abz+ cde+ fg+", "a", "()(cdf) 1 2=e 3=g|", 1},
		{"all fail", "abc", "abz+ cde+ fg+", "abcdf", "()()() 1 2 3|", 3},
		{"of a flow twice the first fails", "aa", "ab+ cd+", "a", "() 1|(c) 2=d|", 1},
		{"another's fails", "abc", "AB BCcd+ ef+", "BC", "|(A) 1|()()(ce) 2=d 3=f|", 3},
	} {
		for _, family := range []func(uint16) []byte{ip4, ip6} {
			for _, reset := range []bool{false, true} {
				var pkts []Packet
				for i, f := range c.flows {
					b := family(uint16(f))
					if f == '.' {
						b = []byte("?")
					}
					pkts = append(pkts, Packet{Bytes: b, ID: uint32(i + 1)})
				}
				s := &script{plans: strings.Split(c.plans, " "), reset: reset}
				for i, p := range s.plans {
					s.plans[i] = strings.Trim(p, ".")
				}
				told, w := 0, &wire{fail: c.fail}
				if err := Run(&source{bursts: 1, pkts: pkts, err: os.ErrClosed}, s, w, func(error) { told++ }); err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSuffix(w.log.String(), "|"); got != c.want || told != c.told {
					t.Errorf("%s: %q, want %q; %d errors", c.name, got, c.want, told)
				}
			}
		}
	}
}

// Long plans are carried out before the burst is over, so that memory is bounded.
func TestBurstBound(t *testing.T) {
	pkts := make([]Packet, 64)
	for i := range pkts {
		pkts[i] = Packet{Bytes: ip4(uint16(i)), ID: uint32(i + 1)}
	}
	const size = 10_000
	h := &handler{v: Replace, words: slices.Repeat([]string{strings.Repeat("x", size)}, 2)}
	dst, r := &sink{quiet: true}, &round{h: h, report: func(err error) { t.Error(err) }}
	r.dst = dst
	for i := range pkts {
		r.judge(time.Time{}, &pkts[i])
		if n := r.batch.kept; n > gather+2*size {
			t.Fatalf("%d bytes are kept", n)
		}
	}
	r.settle()
	if n := cap(r.batch.arena); n > 3*(gather+2*size) || dst.sends != 64 {
		t.Errorf("%d bytes for %d sends", n, dst.sends)
	}
}

func TestBurstAllocs(t *testing.T) {
	var pkts []Packet
	for i := range 64 {
		pkts = append(pkts, Packet{Bytes: ip4(uint16(i % 40)), ID: uint32(i + 1)})
	}
	r := &round{h: &handler{v: Replace, words: []string{"one piece", "another piece"}}, dst: &sink{quiet: true}}
	if n := testing.AllocsPerRun(100, func() {
		for i := range pkts {
			r.judge(time.Time{}, &pkts[i])
		}
		r.settle()
	}); n != 0 {
		t.Errorf("%v allocations a burst", n)
	}
}

// The bytes of what was added stay as they are while more is added, and what was
// kept also while that is thrown away.
func TestBatchStays(t *testing.T) {
	var b Batch
	var all [][]byte
	for i := range 50 {
		thrown := b.Grow(70*i, Meta{})
		b.Reset()
		p := b.Grow(100*i, Meta{})
		for j := range thrown {
			thrown[j] = 0xdb
		}
		for j := range p {
			p[j] = byte(i)
		}
		all = append(all, p)
		b.keep()
	}
	for i, p := range all {
		if !bytes.Equal(p, bytes.Repeat([]byte{byte(i)}, 100*i)) {
			t.Errorf("packet %d has become another", i)
		}
	}
	if b.forget(); len(b.arena) != 0 || b.Len() != 0 {
		t.Error("not forgotten")
	}
}
