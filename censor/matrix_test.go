package censor

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
	"text/tabwriter"

	"b4/desync"
	"b4/engine"
	"b4/packet"
	"b4/tlshello"
)

var update = flag.Bool("update", false, "write testdata/matrix.txt anew")

// strategies are what the matrix tries; the first is none at all.
var strategies = []string{
	"",
	"split(1)",
	"split(midsld)",
	"split(midsld) disorder",
	"split(1, midsld) disorder",
	"fake(clone, badsum)",
	"fake(clone, md5)",
	"fake(clone, ttl=3)",
	"fake(sni=www.w3.org, ttl=3)",
	"fake(clone, badsum) split(midsld) disorder",
	"fake(clone, ttl=3) split(midsld) disorder",
	"split(midsld) disorder fake(clone, ttl=3)",
}

// The matrix says who opens whom, first try, nothing lost: "open", "shut", or
// "-" where the censor does not act on this hello even without a strategy. The
// decoys' TTL is long enough for the censor and too short for the server.
func TestMatrix(t *testing.T) {
	var buf bytes.Buffer
	tw := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "strategy\thello")
	for _, p := range Profiles() {
		fmt.Fprintf(tw, "\t%s", p.Name)
	}
	fmt.Fprintln(tw)
	for i, size := range []string{"small", "large"} {
		blocked, other := hello(t, blockedName, i > 0), hello(t, otherName, i > 0)
		for _, text := range strategies {
			fmt.Fprintf(tw, "%s\t%s", nameOf(text), size)
			for _, p := range Profiles() {
				fmt.Fprintf(tw, "\t%s", cell(t, p, text, blocked, other))
			}
			fmt.Fprintln(tw)
		}
	}
	tw.Flush()
	const golden = "testdata/matrix.txt"
	if *update {
		if err := os.WriteFile(golden, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf.Bytes(), want) {
		t.Errorf("got\n%swant\n%s", &buf, want)
	}
}

func nameOf(strategy string) string {
	if strategy == "" {
		return "none"
	}
	return strategy
}

// cell is one verdict, the same in both families. No strategy may make a censor
// act on other, an allowed hello.
func cell(t *testing.T, p Profile, strategy string, blocked, other []byte) string {
	t.Helper()
	p.Action.PerMille = 0
	var got [2]string
	for i, f := range families {
		switch {
		case opens(t, p, f, "", blocked):
			got[i] = "-"
		case opens(t, p, f, strategy, blocked):
			got[i] = "open"
		default:
			got[i] = "shut"
		}
		if !p.AllowList && !opens(t, p, f, strategy, other) {
			t.Errorf("%s, %s: an allowed site is hit", p.Name, strategy)
		}
	}
	if got[0] != got[1] {
		t.Errorf("%s, %s: v4 %s, v6 %s", p.Name, strategy, got[0], got[1])
	}
	return got[0]
}

// opens sends a hello by the strategy and reports whether nothing befalls it
// and the 60 replies that follow.
func opens(t *testing.T, p Profile, f family, strategy string, msg []byte) bool {
	t.Helper()
	w := newWire(t, p, f)
	if p.AllowList {
		w.c = New(p, []string{"www.w3.org"}, 1)
	}
	w.open()
	free := true
	see := func(v Verdict) { free = free && v.Forward && v.Rewritten == nil && v.Inject == nil }
	for _, pkt := range planned(t, w, strategy, msg) {
		see(w.c.Judge(w.now, pkt, true))
	}
	for range 60 {
		see(w.reply(make([]byte, 1000)))
	}
	return free
}

// planned are the packets that carry msg by the strategy.
func planned(t *testing.T, w *wire, strategy string, msg []byte) [][]byte {
	t.Helper()
	head := w.out(firstSeq, packet.PSH|packet.ACK, nil)
	header := head.Append(nil)
	var v packet.View
	if !v.Decode(header) {
		t.Fatal("no packet")
	}
	h, st := tlshello.Parse(msg)
	if st != tlshello.Complete {
		t.Fatalf("hello is %v", st)
	}
	s, err := desync.TLS.Parse(strategy)
	if err != nil {
		t.Fatal(err)
	}
	env := desync.Env{
		Msg:  desync.Message{Bytes: msg, Hello: h},
		Conn: desync.Conn{Header: header, IPLen: v.IPLen, Base: firstSeq, MTU: v.Hdr + segmentSize},
		Rand: 7,
	}
	var p desync.Plan
	if err := s.Plan(&p, &env); err != nil {
		t.Fatal(err)
	}
	var b engine.Batch
	p.Emit(&b, engine.Meta{}, &env, 0, len(msg))
	out := make([][]byte, b.Len())
	for i := range out {
		out[i] = bytes.Clone(b.At(i).Bytes)
	}
	return out
}
