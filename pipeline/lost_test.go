package pipeline

import (
	"math/rand"
	"slices"
	"testing"
	"time"

	"b4/desync"
	"b4/flow"
	"b4/packet"
)

// lost sends segments of what a client says, a hello or a request behind other
// data, in any order, again and again, with the server's answers between: moves
// has the place, the length and what else in three bytes for each. All that was
// sent arrives without being sent again, and nothing is kept.
func lost(t *testing.T, head, moves []byte, how uint8) {
	texts := []string{"split(midsld) disorder", "split(1, midsld) delay(5)", "fake(badsum) split(2)", "seqovl(5) split(host)"}
	text := texts[how&3]
	rule := Rule{Name: "all", For: treat(Desync, strategy(t, text))}
	rule.For[desync.HTTP] = web(t, Desync, text)[desync.HTTP]
	if how&16 != 0 {
		rule.For = treat(Pass, nil)
	}
	msg := hello(host, 1000, how&8 != 0)
	if how&4 != 0 {
		msg = request(host, 1000, how&8 != 0)
	}
	msg = slices.Concat(head[:min(len(head), 256)&^7], msg, []byte("and what is said then, in whatever words"))
	r := newRig(t, rule)
	r.loose = true
	sent, ack := make([]bool, len(msg)), uint32(1)
	for ; len(moves) >= 3; moves = moves[3:] {
		off := int(moves[0]) * 8 % len(msg)
		end := min(off+int(moves[1])*3, len(msg))
		switch what := moves[2]; {
		case what&128 != 0:
			r.wait(time.Duration(what&127) * time.Millisecond * 4)
		case what&64 != 0:
			ack++
		}
		if off == end {
			continue
		}
		pkt := r.segment(off, msg[off:end], ack)
		pkt.Super = moves[2]&32 != 0 && r.p.config.Load().Rules[0].For[desync.TLS].Action == Desync
		r.handle(pkt)
		for i := off; i < end; i++ {
			sent[i] = true
		}
	}
	r.wait(flow.Wait)
	r.wait(2 * flow.Idle)
	arrived := make([]bool, len(msg))
	for _, b := range r.wire {
		var v packet.View
		if !v.Decode(b) || !packet.ChecksumOK(b) {
			continue
		}
		off := int(int32(v.Seq - r.base))
		for i, c := range v.Payload {
			if at := off + i; at >= 0 && at < len(msg) && c == msg[at] {
				arrived[at] = true
			}
		}
	}
	for i := range sent {
		if sent[i] && !arrived[i] {
			t.Fatalf("byte %d of %d was sent and did not arrive", i, len(msg))
		}
	}
	if r.p.flows.Len() != 0 || len(r.p.wheel.order) != 0 {
		t.Error("something is kept")
	}
}

func FuzzLost(f *testing.F) {
	f.Add([]byte("EHLO "), []byte{0, 5, 0, 1, 200, 0, 40, 200, 0, 80, 200, 0}, uint8(0))
	f.Add([]byte(nil), []byte{80, 100, 0, 40, 100, 0, 0, 100, 0, 120, 200, 128}, uint8(1))
	f.Add([]byte("\x00"), []byte{200, 9, 1, 100, 255, 1, 0, 255, 2, 80, 255, 3, 80, 80, 80}, uint8(6))
	f.Add([]byte(nil), []byte{0, 255, 0, 100, 255, 0, 200, 255, 1, 200, 255, 128}, uint8(11))
	f.Fuzz(lost)
}

func TestLost(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 500
	}
	r := rand.New(rand.NewSource(1))
	for range n {
		head, moves := make([]byte, 8*r.Intn(8)*r.Intn(2)), make([]byte, 3*r.Intn(14))
		r.Read(head)
		r.Read(moves)
		for i := 0; i < len(moves); i += 3 {
			if r.Intn(2) > 0 { // near the beginning, and short
				moves[i], moves[i+1] = moves[i]&7, moves[i+1]&31
			}
		}
		lost(t, head, moves, uint8(r.Intn(32)))
	}
}
