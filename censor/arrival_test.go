package censor

import (
	"slices"
	"strings"
	"testing"

	"b4/packet"
)

// arrivals are the ways a hello with a blocked name comes by, and the profiles
// that then act. Those not named must let it go.
var arrivals = []struct {
	name  string
	large bool
	run   func(w *wire, at int, h, other []byte) // at is inside the name
	acts  string
}{
	{"whole", false, func(w *wire, at int, h, _ []byte) { w.send(0, h) },
		"tspu-2022-I tspu-2022-II tspu-2022-IV tspu-2024 tspu-throttle gfw-2022 full full-last full-drop full-join tm-2023 in-airtel inorder skip"},
	{"split in the name", false, func(w *wire, at int, h, _ []byte) {
		w.send(0, h[:at])
		w.send(at, h[at:])
	}, "tspu-2024 full full-last full-drop full-join inorder skip"},
	{"split after the name", false, func(w *wire, at int, h, _ []byte) {
		w.send(0, h[:len(h)-9])
		w.send(len(h)-9, h[len(h)-9:])
	}, "tspu-2024 gfw-2022 full full-last full-drop full-join tm-2023 in-airtel inorder skip"},
	{"split at byte 1", false, func(w *wire, at int, h, _ []byte) {
		w.send(0, h[:1])
		w.send(1, h[1:])
	}, "tspu-2024 full full-last full-drop full-join inorder skip"},
	{"split and disorder", false, func(w *wire, at int, h, _ []byte) {
		w.send(at, h[at:])
		w.send(0, h[:at])
	}, "full full-last full-drop full-join"},
	{"split, first piece lost and sent again after", false, func(w *wire, at int, h, _ []byte) {
		w.send(at, h[at:])
		w.send(0, h[:at])
		w.send(0, h)
	}, "gfw-2022 full full-last full-drop full-join tm-2023 in-airtel inorder tspu-2024"},
	{"large in two segments", true, func(w *wire, at int, h, _ []byte) {
		w.send(0, h[:segmentSize])
		w.send(segmentSize, h[segmentSize:])
	}, "tspu-2024 gfw-2022 full full-last full-drop full-join tm-2023 in-airtel inorder skip"},
	{"large in two segments, second first", true, func(w *wire, at int, h, _ []byte) {
		w.send(segmentSize, h[segmentSize:])
		w.send(0, h[:segmentSize])
	}, "gfw-2022 full full-last full-drop full-join tm-2023 in-airtel tspu-2024 inorder"},
	{"twice", false, func(w *wire, at int, h, _ []byte) {
		w.send(0, h)
		w.send(0, h)
	}, "tspu-2022-I tspu-2022-II tspu-2022-IV tspu-2024 tspu-throttle gfw-2022 full full-last full-drop full-join tm-2023 in-airtel inorder skip"},
	{"waiting bytes: real, then other", false, func(w *wire, at int, h, other []byte) {
		w.send(20, h[20:])
		w.send(20, other[20:])
		w.send(0, h[:20])
	}, "full full-drop full-join"},
	{"waiting bytes: other, then real", false, func(w *wire, at int, h, other []byte) {
		w.send(20, other[20:])
		w.send(20, h[20:])
		w.send(0, h[:20])
	}, "full-last"},
	{"read bytes are final: begin, then other over it, then the rest", false, func(w *wire, at int, h, other []byte) {
		w.send(0, h[:at])
		w.send(0, other[:at])
		w.send(at, h[at:])
	}, "tspu-2024 full full-last full-drop full-join inorder skip"},
	{"decoy with a bad checksum before", false, func(w *wire, at int, h, other []byte) {
		s := w.out(firstSeq, packet.PSH|packet.ACK, other)
		w.c.Judge(w.now, spoil(s.Append(nil)), true)
		w.send(0, h)
	}, "gfw-2022 full full-last full-drop full-join tm-2023 in-airtel tspu-throttle"},
	{"decoy with another name before", false, func(w *wire, at int, h, other []byte) {
		w.send(0, other)
		w.send(0, h)
	}, "gfw-2022 tm-2023 in-airtel tspu-throttle"},
	{"decoy of zeroes before", false, func(w *wire, at int, h, other []byte) {
		w.send(0, make([]byte, len(h)))
		w.send(0, h)
	}, "gfw-2022 tm-2023 in-airtel"},
	{"two records", false, func(w *wire, at int, h, _ []byte) {
		w.send(0, splitRecord(h, at-recordHeader))
	}, "full-join"},
	{"two records in two segments", false, func(w *wire, at int, h, _ []byte) {
		h = splitRecord(h, at-recordHeader)
		w.send(0, h[:at])
		w.send(at, h[at:])
	}, "full-join"},
	{"another record ahead", false, func(w *wire, at int, h, _ []byte) {
		w.send(0, append([]byte{21, 3, 1, 0, 2, 1, 0}, h...))
	}, ""},
}

// alike are the profiles that understand what the others do.
var alike = map[string]string{"gfw-2024": "full", "gfw-2025-edge": "full-join", "gfw-henan": "in-airtel", "kz": "inorder"}

// modelled are the built-in profiles that act on nothing but names, and two that join
// in order, in its two ways.
func modelled() []Profile {
	ps := Profiles()
	ps = slices.DeleteFunc(ps, func(p Profile) bool {
		return p.AllowList || p.NoTLS || p.Police.Hellos > 0 || p.Name == "tr-2024" || p.Nameless || p.Fragment > 0
	})
	for i := range ps {
		ps[i].Action.PerMille = 0 // the tables are of what is understood, not of chance
	}
	drop := Action{Drop: Both, DropHello: true}
	return append(ps,
		Profile{Name: "inorder", TCP: Reassembly{Mode: InOrder}, Action: drop},
		Profile{Name: "skip", TCP: Reassembly{Mode: InOrder, SkipGaps: true}, Action: drop})
}

func TestArrivals(t *testing.T) {
	for _, tt := range arrivals {
		h, other := hello(t, blockedName, tt.large), hello(t, otherName, tt.large)
		if len(h) != len(other) {
			t.Fatalf("hellos of %d and %d bytes", len(h), len(other))
		}
		acts := strings.Fields(tt.acts)
		for _, p := range modelled() {
			for _, f := range families {
				w := newWire(t, p, f)
				w.open()
				tt.run(w, nameAt(t, h, blockedName), h, other)
				name := p.Name
				if a, ok := alike[name]; ok {
					name = a
				}
				if got, want := w.blocked(), slices.Contains(acts, name); got != want {
					t.Errorf("%s, %s, %s: blocked %v, want %v", tt.name, p.Name, f.name, got, want)
				}
			}
		}
	}
}

// What no censor may touch: other names, however they arrive, and what is no TLS.
func TestOthersUntouched(t *testing.T) {
	const third = "third.allowed.example"
	sizes := map[bool][2][]byte{}
	for _, large := range []bool{false, true} {
		sizes[large] = [2][]byte{hello(t, otherName, large), hello(t, third, large)}
	}
	request := []byte("GET / HTTP/1.1\r\nHost: " + blockedName + "\r\n\r\n")
	for _, p := range modelled() {
		for _, f := range families {
			for _, tt := range arrivals {
				h, decoy := sizes[tt.large][0], sizes[tt.large][1]
				w := newWire(t, p, f)
				w.open()
				tt.run(w, nameAt(t, h, otherName), h, decoy)
				w.reply(make([]byte, 1200))
				untouched(t, w.c, p.Name+", "+tt.name)
			}
			w := newWire(t, p, f)
			w.c.p.HTTP = Unread
			w.open()
			w.send(0, request)
			w.reply(request)
			untouched(t, w.c, p.Name+", no TLS")
		}
	}
}

func untouched(t *testing.T, c *Censor, what string) {
	t.Helper()
	if s := c.Stats(); s.Blocked+s.Dropped+s.Injected+s.Rewritten != 0 {
		t.Errorf("%s: touched: %+v", what, s)
	}
}

func TestListed(t *testing.T) {
	c := New(Profile{}, []string{"Blocked.example.", "a.b", ""}, 0)
	for name, want := range map[string]bool{
		"blocked.example": true, "x.y.BLOCKED.example": true, "blocked.example.": true, "a.b": true,
		"notblocked.example": false, "example": false, "": false, ".": false, "b": false,
	} {
		if got := c.listed([]byte(name)); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
