package inject

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"b4/engine"
	"b4/nstest"

	"golang.org/x/sys/unix"
)

// none tells of a packet that should not have left by l.
func (l *link) none(t *testing.T) {
	t.Helper()
	l.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	b := make([]byte, 2048)
	for {
		n, err := l.Read(b)
		if err != nil {
			return
		}
		if b[0]>>4 == 4 && ours(b[9]) || b[0]>>4 == 6 && ours(b[6]) {
			t.Errorf("%d bytes left by %s", n, l.Name())
		}
	}
}

// Packets of one family and device leave in one call, each with its own mark and
// destination, and in order.
func TestKernelBurst(t *testing.T) {
	nstest.Enter(t)
	a, b := uplinks(t)
	s := sender(t)
	m := testMarks(t)
	count := markCounter(t, m.Injected|userMark|3)
	for _, f := range families {
		var outs []engine.Out
		for i := range slots + 10 {
			outs = append(outs, engine.Out{Bytes: f.packet(f.source, f.header+i), Meta: engine.Meta{Out: b.index, Mark: userMark | uint32(i)}})
		}
		for at, want := range map[int]int{0: slots, slots: 10} {
			if n, err := s.sendRun(outs[at:]); n != want || err != nil {
				t.Fatalf("%s: %d packets in one call, %v; want %d", f.name, n, err, want)
			}
			for _, o := range outs[at:][:want] {
				if got := b.read(); !bytes.Equal(got, o.Bytes) {
					t.Fatalf("%s: %d bytes, want %d", f.name, len(got), len(o.Bytes))
				}
			}
		}
		a.none(t)
	}
	if n := count(); n != 2 {
		t.Errorf("%d packets with the mark of one", n)
	}
}

// Whatever is next to each other, each leaves by its own device.
func TestKernelMixedBurst(t *testing.T) {
	nstest.Enter(t)
	a, b := uplinks(t)
	s := sender(t)
	v4, v6 := families[0], families[1]
	two := []engine.Out{{Bytes: v6.packet(v6.source, 99)}, {Bytes: v4.packet(v4.source, 99)}}
	if n, err := s.sendRun(two); n != 1 || err != nil || !bytes.Equal(a.read(), two[0].Bytes) {
		t.Errorf("of both families: %d sent, %v", n, err)
	}
	var outs []engine.Out
	want := map[*link][][]byte{}
	for i, c := range []struct {
		f    family
		meta engine.Meta
		by   *link
	}{
		{v4, engine.Meta{Out: b.index}, b}, {v4, engine.Meta{Out: b.index}, b}, {v6, engine.Meta{Out: b.index}, b},
		{v6, engine.Meta{}, a}, {v6, engine.Meta{Out: a.index}, a}, {v4, engine.Meta{}, a}, {v4, engine.Meta{Out: b.index, Back: true}, a},
		{v4, engine.Meta{Mark: userMark}, b}, {v4, engine.Meta{}, a}, {v4, engine.Meta{Out: b.index}, b}, {v6, engine.Meta{Mark: userMark}, b},
	} {
		p := c.f.packet(c.f.source, 100+i)
		outs = append(outs, engine.Out{Bytes: p, Meta: c.meta})
		want[c.by] = append(want[c.by], p)
	}
	if n, err := s.Send(outs); n != len(outs) || err != nil {
		t.Fatal(n, err)
	}
	for l, packets := range want {
		for _, p := range packets {
			if got := l.read(); !bytes.Equal(got, p) {
				t.Errorf("%s: %d bytes, want %d", l.Name(), len(got), len(p))
			}
		}
	}
}

// A packet that is refused stops those behind it, and is told apart from those
// before it.
func TestKernelBurstFails(t *testing.T) {
	nstest.Enter(t)
	a, _ := uplinks(t)
	s := sender(t)
	for _, f := range families {
		good, long := f.packet(f.source, 200), f.packet(f.source, linkMTU+1)
		for _, c := range []struct {
			bad  []byte
			meta engine.Meta
			want error
		}{
			{long, engine.Meta{}, unix.EMSGSIZE},
			{good[:10], engine.Meta{}, errHeader},
			{good, engine.Meta{Out: 9999}, unix.ENODEV},
		} {
			outs := []engine.Out{{Bytes: good}, {Bytes: good}, {Bytes: c.bad, Meta: c.meta}, {Bytes: good}}
			for at := 2; at >= 0; at-- {
				if n, err := s.Send(outs[2-at:]); n != at || !errors.Is(err, c.want) {
					t.Errorf("%s: %d sent, %v; want %d, %v", f.name, n, err, at, c.want)
				}
			}
			if n, err := s.Send(outs[3:]); n != 1 || err != nil {
				t.Errorf("%s: the next: %v", f.name, err)
			}
			for range 2 + 1 + 1 {
				if !bytes.Equal(a.read(), good) {
					t.Errorf("%s: a packet is missing", f.name)
				}
			}
			a.none(t)
		}
	}
	if n, err := s.Send(nil); n != 0 || err != nil {
		t.Error("nothing to send:", n, err)
	}
}

func TestKernelBurstAllocs(t *testing.T) {
	nstest.Enter(t)
	_, b := uplinks(t)
	s := sender(t)
	var outs []engine.Out
	for i := range 20 {
		f := families[i/10]
		outs = append(outs, engine.Out{Bytes: f.packet(f.source, 600), Meta: engine.Meta{Out: b.index}})
	}
	for _, last := range []int{len(outs), 15} {
		if last < len(outs) {
			outs[last].Bytes = make([]byte, linkMTU+1)
			outs[last].Bytes[0] = 0x60
		}
		n := testing.AllocsPerRun(50, func() {
			if n, err := s.Send(outs); n != last || (err == nil) != (last == len(outs)) {
				t.Fatal(n, err)
			}
		})
		if n != 0 {
			t.Errorf("%v allocations for %d packets", n, last)
		}
	}
}
