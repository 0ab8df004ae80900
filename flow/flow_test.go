package flow

import (
	"bytes"
	"math/rand"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"b4/packet"
)

var start = time.Unix(1000, 0)

func key(n int, v6 bool) Key {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	if v6 {
		a, b = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	}
	return KeyOf(&packet.View{Src: netip.AddrPortFrom(a, uint16(n)), Dst: netip.AddrPortFrom(b, 443), Proto: packet.TCP})
}

func TestKey(t *testing.T) {
	seen := map[Key]int{}
	for n := range 100 {
		for _, v6 := range []bool{false, true} {
			k := key(n, v6)
			seen[k]++
			if again := key(n, v6); again != k || again.Hash() != k.Hash() {
				t.Error("the same packet has another key")
			}
			if k.Src().Port() != uint16(n) || k.Dst().Port() != 443 || k.Dst().Addr().Is4() == v6 {
				t.Errorf("%v -> %v", k.Src(), k.Dst())
			}
		}
	}
	if len(seen) != 200 {
		t.Errorf("%d keys, want 200", len(seen))
	}
	// Three protocols between the same numbers are three flows.
	ends := packet.View{Src: netip.MustParseAddrPort("192.0.2.1:7"), Dst: netip.MustParseAddrPort("192.0.2.2:8")}
	protos := map[Key]bool{}
	for _, p := range []uint8{packet.TCP, packet.UDP, packet.ICMP} {
		ends.Proto = p
		protos[KeyOf(&ends)] = true
	}
	if len(protos) != 3 {
		t.Errorf("%d keys for TCP, UDP and ICMP", len(protos))
	}
}

func noEvict(t *testing.T) func(*Flow[int]) {
	return func(*Flow[int]) { t.Error("evicted") }
}

// Segments of a message in every order, overlapping and twice, give the message;
// of two versions of a byte the first stays.
func TestStream(t *testing.T) {
	msg := make([]byte, 3000)
	r := rand.New(rand.NewSource(1))
	r.Read(msg)
	for round := range 300 {
		tb := New[int](4, noEvict(t))
		f := tb.Add(start, key(1, false))
		base := uint32(0xffffff00) // the sequence numbers wrap
		tb.Begin(f, base, msg[:10])
		var cuts [][2]int
		for off := 10; off < len(msg); {
			n := 1 + r.Intn(900)
			end := min(off+n, len(msg))
			cuts = append(cuts, [2]int{max(0, off-r.Intn(20)), end}, [2]int{off, end})
			off = end
		}
		r.Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
		for _, c := range cuts {
			if !tb.Insert(f, base+uint32(c[0]), msg[c[0]:c[1]]) {
				continue // a gap too many; it comes again below
			}
		}
		for _, c := range cuts {
			tb.Insert(f, base+uint32(c[0]), bytes.Repeat([]byte{'x'}, c[1]-c[0]))
		}
		got := f.Stream().Bytes()
		if len(got) < 10 || !bytes.Equal(got[:10], msg[:10]) {
			t.Fatalf("round %d: beginning lost", round)
		}
		whole := len(cuts) <= 2*maxRanges
		if whole && !bytes.Equal(got, msg) {
			t.Fatalf("round %d: %d bytes of %d, or other ones", round, len(got), len(msg))
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	tb := New[int](4, noEvict(t))
	f := tb.Add(start, key(1, false))
	tb.Begin(f, 1000, []byte("abc"))
	if tb.Insert(f, 999, []byte("x")) || tb.Insert(f, 1000+MaxMessage, []byte("x")) {
		t.Error("took a segment outside")
	}
	for i := 1; i < maxRanges; i++ {
		if !tb.Insert(f, 1000+uint32(10*i), []byte("y")) {
			t.Errorf("refused piece %d", i)
		}
	}
	if tb.Insert(f, 1500, []byte("z")) {
		t.Error("took one piece too many")
	}
	if !tb.Insert(f, 1003, []byte("d")) {
		t.Error("refused what joins a piece")
	}
	if got := string(f.Stream().Bytes()); got != "abcd" {
		t.Errorf("%q", got)
	}
}

func TestHold(t *testing.T) {
	tb := New[int](4, noEvict(t))
	f := tb.Add(start, key(1, false))
	for i := range MaxHeld {
		if !tb.Hold(start.Add(time.Duration(i)*time.Millisecond), f, Held{bytes.Repeat([]byte{byte(i)}, 1500), uint32(i), int32(-i)}, Wait) {
			t.Fatalf("packet %d refused", i)
		}
	}
	if tb.Hold(start, f, Held{Bytes: []byte("x")}, Wait) {
		t.Error("held one too many")
	}
	for i := range f.Held() {
		if h := f.At(i); len(h.Bytes) != 1500 || h.Bytes[1499] != byte(i) || h.Mark != uint32(i) || h.Out != int32(-i) {
			t.Errorf("packet %d: %d bytes, mark %d, out %d", i, len(h.Bytes), h.Mark, h.Out)
		}
	}
	due := 0
	next := tb.Due(start.Add(Wait-1), func(*Flow[int]) { due++ })
	if due != 0 || !next.Equal(start.Add(Wait)) {
		t.Errorf("%d due early, next %v", due, next)
	}
	if next := tb.Due(start.Add(Wait), func(f *Flow[int]) { due++; tb.Release(f) }); due != 1 || !next.IsZero() {
		t.Errorf("%d due, next %v", due, next)
	}
	big := tb.Add(start, key(2, false))
	if tb.Hold(start, big, Held{Bytes: make([]byte, MaxMessage+1)}, Wait) {
		t.Error("held more than the bound")
	}
}

// What waits less is due first, whenever it came.
func TestHoldLess(t *testing.T) {
	tb := New[int](4, noEvict(t))
	for i, d := range []time.Duration{Wait, Wait / 10, Wait / 2, Wait / 10} {
		f := tb.Add(start, key(i, false))
		f.State = i
		tb.Hold(start, f, Held{Bytes: []byte("a")}, d)
	}
	var order []int
	note := func(f *Flow[int]) { order = append(order, f.State); tb.Release(f) }
	if next := tb.Due(start.Add(Wait/10), note); !next.Equal(start.Add(Wait/2)) || !slices.Equal(order, []int{1, 3}) {
		t.Errorf("%v were due, next %v", order, next)
	}
	if tb.Due(start.Add(Wait), note); !slices.Equal(order, []int{1, 3, 2, 0}) {
		t.Errorf("%v were due", order)
	}
}

// A stream does not grow beyond its bound at either end.
func TestLowerRefuses(t *testing.T) {
	tb := New[int](4, noEvict(t))
	f := tb.Add(start, key(1, false))
	const base = 100_000
	tb.Begin(f, base, make([]byte, 100))
	for _, seq := range []uint32{base, base + 1, base - MaxMessage + 99, base - MaxMessage - 1, base + 1<<31} {
		if tb.Lower(f, seq) {
			t.Errorf("lowered from %d to %d", base, seq)
		}
	}
	if !tb.Lower(f, base+100-MaxMessage) || len(f.Stream().Bytes()) != 0 || !f.Stream().Has(MaxMessage-100, 100) {
		t.Error("not lowered")
	}
}

// What a stream has stays where it belongs when its beginning is lowered.
func TestLower(t *testing.T) {
	tb := New[int](4, noEvict(t))
	f := tb.Add(start, key(1, false))
	tb.Begin(f, 2, []byte("is there"))
	tb.Insert(f, 12, []byte("behind a gap"))
	if !tb.Lower(f, 0xfffffffd) || !tb.Insert(f, 0xfffffffd, []byte("what ")) || !tb.Insert(f, 10, []byte(", ")) {
		t.Fatal("refused")
	}
	if got := string(f.Stream().Bytes()); got != "what is there, behind a gap" || f.Stream().Base() != 0xfffffffd {
		t.Errorf("%q from %d", got, f.Stream().Base())
	}
}

// Free memory is kept for some flows to come, and no more.
func TestPoolBound(t *testing.T) {
	tb := New[int](4*spare, noEvict(t))
	for i := range 4 * spare {
		tb.Begin(tb.Add(start, key(i, false)), 0, make([]byte, 1+i%3*chunk))
	}
	for i := range 4 * spare {
		f, _ := tb.Lookup(start, key(i, false))
		tb.Remove(f)
	}
	for i, pool := range tb.pools {
		if len(pool) != spare || cap(pool[0]) != (i+1)*chunk {
			t.Errorf("%d buffers of %d chunks kept", len(pool), i+1)
		}
	}
	if tb.memory != 0 {
		t.Errorf("%d bytes in use", tb.memory)
	}
}

// A flow that was released and waits again is due by its new time only.
func TestHoldAgain(t *testing.T) {
	tb := New[int](4, noEvict(t))
	f := tb.Add(start, key(1, false))
	tb.Hold(start, f, Held{Bytes: []byte("a")}, Wait)
	before := tb.memory
	if tb.Release(f); tb.memory != before-chunk || f.Held() != 0 {
		t.Errorf("%d bytes in use, of %d before", tb.memory, before)
	}
	tb.Hold(start.Add(50*time.Millisecond), f, Held{Bytes: []byte("b")}, Wait)
	n := 0
	tb.Due(start.Add(Wait), func(*Flow[int]) { n++ })
	if n != 0 {
		t.Error("due by the time of packets that have gone")
	}
	tb.Due(start.Add(Wait+50*time.Millisecond), func(f *Flow[int]) { n++; tb.Release(f) })
	if n != 1 {
		t.Error("not due")
	}
}

// The one unseen for longest goes, with its packets; the rest stay.
func TestEvict(t *testing.T) {
	var gone []int
	tb := New[int](3, func(f *Flow[int]) {
		if f.Held() != 1 {
			t.Error("evicted without its packets")
		}
		gone = append(gone, f.State)
	})
	for i := range 4 {
		if i == 3 {
			tb.Lookup(start.Add(2500*time.Millisecond), key(0, false)) // 0 was just seen, so 1 must go
		}
		f := tb.Add(start.Add(time.Duration(i)*time.Second), key(i, false))
		f.State = i
		tb.Hold(start, f, Held{Bytes: []byte("x")}, Wait)
	}
	if len(gone) != 1 || gone[0] != 1 || tb.Len() != 3 {
		t.Errorf("gone %v, %d left", gone, tb.Len())
	}
	if _, ok := tb.Lookup(start, key(1, false)); ok {
		t.Error("still found")
	}
	gone = nil
	tb.Expire(start.Add(Idle + 2200*time.Millisecond))
	if len(gone) != 1 || gone[0] != 2 {
		t.Errorf("expired %v, want 2: the others were seen later", gone)
	}
	tb.Expire(start.Add(2 * Idle))
	if tb.Len() != 0 || tb.memory != 0 {
		t.Errorf("%d flows, %d bytes left", tb.Len(), tb.memory)
	}
}

// 100k half messages: memory stays below the bound and the newest are there.
func TestMemoryBound(t *testing.T) {
	evicted := 0
	tb := New[int](8192, func(*Flow[int]) { evicted++ })
	half := make([]byte, 1000)
	flood := 100_000
	if testing.Short() {
		flood = 80_000 // as many as show IPv6 too
	}
	for i := range flood {
		f := tb.Add(start, key(i%65536, i >= 65536))
		tb.Begin(f, 0, half)
		tb.Hold(start, f, Held{Bytes: half}, Wait)
		if tb.memory > Memory {
			t.Fatalf("%d bytes after %d flows", tb.memory, i)
		}
	}
	if f, ok := tb.Lookup(start, key(flood-65536-1, true)); !ok || len(f.Stream().Bytes()) != len(half) || f.Held() != 1 {
		t.Error("the newest is not whole")
	}
	tb.Due(start.Add(Wait), func(f *Flow[int]) { tb.Release(f) })
	if evicted == 0 || len(tb.wait) != 0 {
		t.Errorf("%d evicted, %d waiting", evicted, len(tb.wait))
	}
}

// A slot that is used again remembers nothing, and memory is given back however
// a buffer grew.
func TestReuse(t *testing.T) {
	tb := New[int](1, func(*Flow[int]) {})
	for i := range 3 {
		f := tb.Add(start, key(i, false))
		if f.State != 0 || f.Stream().Bytes() != nil || f.Held() != 0 {
			t.Errorf("round %d: %+v", i, f)
		}
		f.State = 7
		tb.Begin(f, 9, make([]byte, 10))
		for n := 10; n < MaxMessage; n += 1000 {
			tb.Insert(f, 9+uint32(n), make([]byte, min(1000, MaxMessage-n)))
		}
		for range MaxHeld {
			tb.Hold(start, f, Held{Bytes: make([]byte, 1500)}, Wait)
		}
		if n := len(f.Stream().Bytes()); n != MaxMessage {
			t.Errorf("round %d: %d bytes", i, n)
		}
	}
	tb.Expire(start.Add(Idle - 1))
	if tb.Len() != 1 {
		t.Error("expired early")
	}
	tb.Expire(start.Add(Idle))
	if tb.Len() != 0 || tb.memory != 0 {
		t.Errorf("%d flows, %d bytes left", tb.Len(), tb.memory)
	}
}

func TestAllocs(t *testing.T) {
	tb := New[int](64, noEvict(t))
	payload := make([]byte, 600)
	k := key(1, true)
	if n := testing.AllocsPerRun(1000, func() {
		f := tb.Add(start, k)
		tb.Begin(f, 7, payload)
		tb.Insert(f, 607, payload)
		f, _ = tb.Lookup(start, k)
		tb.Hold(start, f, Held{Bytes: payload}, Wait)
		tb.Due(start.Add(Wait), func(*Flow[int]) {})
		tb.Expire(start)
		tb.Remove(f)
	}); n != 0 {
		t.Errorf("%v allocations per flow, want 0", n)
	}
}

// A flow is no object of its own: the heap holds blocks of them, and an index.
func TestManyAllocs(t *testing.T) {
	const n = 100_000
	keys := make([]Key, n)
	for i := range keys {
		keys[i] = key(i%50_000, i >= 50_000)
	}
	var tb *Table[int]
	allocs := testing.AllocsPerRun(1, func() {
		tb = New(n, noEvict(t))
		for i, k := range keys {
			tb.Add(start, k).State = i
		}
		for i, k := range keys {
			if f, ok := tb.Lookup(start, k); !ok || f.State != i {
				t.Fatalf("flow %d is not found", i)
			}
		}
	})
	const growth = 50 // of the index and the list of blocks
	if most := float64(n/perBlock + growth); allocs > most {
		t.Errorf("%v allocations for %d flows, want %v at most", allocs, n, most)
	}
	for _, k := range keys {
		f, _ := tb.Lookup(start, k)
		tb.Remove(f)
	}
	if again := testing.AllocsPerRun(10, func() { // less than one a run is the runtime's
		for _, k := range keys[:n/2] {
			tb.Add(start, k)
		}
		for _, k := range keys[:n/2] {
			f, _ := tb.Peek(k)
			tb.Remove(f)
		}
	}); again != 0 {
		t.Errorf("%v allocations for flows in the place of others, want 0", again)
	}
}

// The index finds what is in it and nothing else, however full its neighbourhood is
// and in whatever order flows go: all have few tags here.
func TestIndexLikeMap(t *testing.T) {
	x, r := newIndex(), rand.New(rand.NewSource(1))
	tags := map[int32]uint32{}
	has := func(tag uint32, slot int32) bool {
		for i := x.home(tag); x.places[i].used != 0; i = x.next(i) {
			if x.places[i] == (place{tag, slot + 1}) {
				return true
			}
		}
		return false
	}
	for range 20_000 {
		slot := int32(r.Intn(300))
		if tag, in := tags[slot]; in {
			x.remove(tag, slot)
			delete(tags, slot)
		} else {
			tags[slot] = uint32(r.Intn(40)) * uint32(r.Intn(2)*1000+1)
			x.put(tags[slot], slot)
		}
		slot = int32(r.Intn(300))
		if tag, in := tags[slot]; in && !has(tag, slot) {
			t.Fatalf("%d with tag %d is lost", slot, tag)
		}
	}
	for slot, tag := range tags {
		if !has(tag, slot) {
			t.Errorf("%d with tag %d is lost", slot, tag)
		}
		x.remove(tag, slot)
	}
	for _, p := range x.places {
		if p != (place{}) {
			t.Fatalf("%v is left", p)
		}
	}
}

// The table's clock begins with its first flow, whatever it was asked before.
func TestDueOfEmpty(t *testing.T) {
	tb := New[int](4, noEvict(t))
	tb.Due(start.Add(1<<62), func(*Flow[int]) { t.Error("due") })
	tb.Expire(start.Add(1 << 62))
	f := tb.Add(start, key(1, false))
	tb.Hold(start, f, Held{Bytes: []byte("x")}, Wait)
	due := 0
	if next := tb.Due(start, func(*Flow[int]) { due++ }); !next.Equal(start.Add(Wait)) || due != 0 {
		t.Errorf("%d due, the next at %v", due, next)
	}
	if next := tb.Due(start.Add(Wait), func(*Flow[int]) { due++ }); !next.IsZero() || due != 1 {
		t.Errorf("%d due, the next at %v", due, next)
	}
}

func BenchmarkLookup(bm *testing.B) {
	tb := New[int](4096, func(*Flow[int]) {})
	for i := range 4096 {
		tb.Add(start, key(i, false))
	}
	k := key(77, false)
	bm.ReportAllocs()
	for range bm.N {
		tb.Lookup(start, k)
	}
}

// What is looked at for each packet of a flow lies in one line of the cache: blocks
// of flows begin with one.
func TestFirstLine(t *testing.T) {
	const line = 64
	var f Flow[int]
	if n := unsafe.Offsetof(f.seen) + unsafe.Sizeof(f.seen); n > line {
		t.Errorf("%d bytes", n)
	}
}
