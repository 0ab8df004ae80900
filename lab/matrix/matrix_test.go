package matrix

import (
	"flag"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"b4/censor"
	"b4/packet"
)

var update = flag.Bool("update", false, "write docs/MATRIX.md anew")

// all is the whole matrix, made once.
var all = sync.OnceValues(All)

// The document says what the matrix is now.
func TestDocument(t *testing.T) {
	const path = "../../docs/MATRIX.md"
	tables, err := all()
	if err != nil {
		t.Fatal(err)
	}
	got := Markdown(tables)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale: go test ./matrix -update", path)
	}
}

// Every profile acts on something that is sent to it as it is, and its sample
// tells the same when it is tried alone.
func TestSamples(t *testing.T) {
	idle := map[string]bool{}
	for _, p := range censor.Profiles() {
		idle[p.Name] = true
	}
	tables, err := all()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		for _, s := range table.Samples() {
			idle[s.Profile.Name] = false
			if got, err := s.Run(); err != nil || got != s.Outcome {
				t.Errorf("%s, %q, %v: %v, %v, want %v", s.Profile.Name, s.Strategy, s.Kind, got, err, s.Outcome)
			}
		}
	}
	for name, is := range idle {
		if is {
			t.Errorf("%s does nothing", name)
		}
	}
}

// A decoy that the server does not get opens what full reassembly shuts, and
// breaks sites behind boxes that do get it.
func TestOutcomes(t *testing.T) {
	tests := []struct {
		profile, strategy string
		kind              Kind
		want              Outcome
	}{
		{"full", "", Small, Shut},
		{"full", "split(midsld) disorder", Small, Shut},
		{"full", "fake(ttl=auto)", Small, Opened},
		{"full", "fake(ttl=auto-9)", Small, Opened}, // it reaches the censor, behind two routers
		{"full", "fake(ttl=auto-10)", Small, Shut},
		{"full", "split(1)", Request, Free},
		{"tspu-2022-I", "split(1)", Small, Opened},
		{"tspu-2022-I", "", PostQuantum, Free},
		{"tspu-16k", "split(midsld)", Small, Broke},
		{"tspu-16k", "fake(sni=www.allowed.example, ttl=auto)", Small, Opened},
		{"tspu-par", "", Small, Shut},
		{"tspu-par", "split(midsld)", Small, Opened},
		{"iran-2020", "split(midsld)", Small, Broke},
		{"iran-2026", "", PostQuantum, Shut},
		{"iran-2026", "split(midsld)", PostQuantum, Broke},
		{"gfw-quic", "", Initial, Shut},
		{"gfw-quic", "fake(random)", Initial, Opened},
		{"tspu-quic22", "fake(random)", Initial, Shut},
		{"http-drop", "hostcase", Request, Shut},
		{"http-rst", "hostcase", Request, Opened},
	}
	for _, tt := range tests {
		p, err := censor.Lookup(tt.profile)
		if err != nil {
			t.Fatal(err)
		}
		for _, v6 := range []bool{false, true} {
			try := Try{p, tt.strategy, tt.kind, v6}
			if got, err := try.Run(); err != nil || got != tt.want {
				t.Errorf("%s, %q, %v, v6 %v: %v, %v, want %v", tt.profile, tt.strategy, tt.kind, v6, got, err, tt.want)
			}
		}
	}
}

func TestBreaks(t *testing.T) {
	tests := []struct {
		strategy          string
		normaliser, proxy bool
	}{
		{"", false, false},
		{"split(1, midsld) disorder", false, false},
		{"split(midsld) seqovl(8)", false, false},
		{"ipfrag(32)", false, false},
		{"fake(ttl=auto)", true, false}, // it does not get to a proxy, from which the answers come
		{"fake(ttl=10)", true, true},
		{"fake(clone, md5)", true, false},
		{"fake(clone, ts)", true, false},
		{"fake(clone, badsum)", false, false},
		{"fake(clone, badseq)", false, false},
		{"rst(ttl=auto)", true, false},
		{"synfake(ttl=auto)", true, false},
		{"split(midsld) disorder fake(clone, ttl=auto, place=around)", true, false},
	}
	for _, tt := range tests {
		for _, k := range []Kind{Small, PostQuantum} {
			for _, v6 := range []bool{false, true} {
				try := Try{Strategy: tt.strategy, Kind: k, V6: v6}
				if got, err := try.Behind(); err != nil || got != [2]bool{tt.normaliser, tt.proxy} {
					t.Errorf("%q, %v, v6 %v: %v, %v, want %v, %v", tt.strategy, k, v6, got, err, tt.normaliser, tt.proxy)
				}
			}
		}
	}
}

// The server reads what nothing keeps from it, and nothing else.
func TestReceiver(t *testing.T) {
	c := caller{plain: true}
	c.src, c.dst = ends(Small, false, 0)
	at := func(off int, data string, change func(*packet.Segment)) []byte {
		s := c.segment(clientISN+1+uint32(off), serverISN+1, packet.PSH|packet.ACK, []byte(data))
		if change != nil {
			change(&s)
		}
		return s.Append(nil)
	}
	spoilt := at(0, "decoy", nil)
	spoilt[36] ^= 1
	tests := []struct {
		name string
		pkts [][]byte
		want string
	}{
		{"in order", [][]byte{at(0, "abc", nil), at(3, "def", nil)}, "abcdef"},
		{"out of order", [][]byte{at(3, "def", nil), at(0, "abc", nil)}, "abcdef"},
		{"early: the first copy", [][]byte{at(1, "bc", nil), at(1, "xx", nil), at(0, "a", nil)}, "abc"},
		{"in its turn: over what was early", [][]byte{at(1, "xx", nil), at(0, "abc", nil)}, "abc"},
		{"what is read is final", [][]byte{at(0, "abc", nil), at(0, "xxxd", nil)}, "abcd"},
		{"bad checksum", [][]byte{spoilt, at(0, "abc", nil)}, "abc"},
		{"no ACK", [][]byte{at(0, "decoy", func(s *packet.Segment) { s.Flags = packet.PSH }), at(0, "abc", nil)}, "abc"},
		{"acknowledges too much", [][]byte{at(0, "decoy", func(s *packet.Segment) { s.Ack += 9 }), at(0, "abc", nil)}, "abc"},
		{"signed", [][]byte{at(0, "decoy", func(s *packet.Segment) { s.Options = append([]byte{19, 18}, make([]byte, 16)...) }), at(0, "abc", nil)}, "abc"},
		{"below the window", [][]byte{at(-9, "decoy", nil), at(0, "abc", nil)}, "abc"},
	}
	for _, tt := range tests {
		r := receiver{open: true, base: clientISN + 1, sent: serverISN + 1}
		for _, b := range tt.pkts {
			r.take(slices.Clone(b))
		}
		if got := string(r.read()); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The models are models: the document names no country as a fact.
func TestWording(t *testing.T) {
	b, err := os.ReadFile("../../docs/MATRIX.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"Russia", "China", "Iran ", "Turkey", "India", "Kazakhstan", "Turkmenistan"} {
		if strings.Contains(string(b), word) {
			t.Errorf("it speaks of %s", word)
		}
	}
}
