package lab

import (
	"bytes"
	"testing"
	"time"

	"b4/engine"
	"b4/packet"
)

func TestQueueLine(t *testing.T) {
	const list = "  200   1234     0 2 65531     0     0       77  1\n" +
		"  537  -9188     3 2  2048     0     0   400123  1\n"
	for _, tt := range []struct {
		number  uint16
		packets uint64
		served  bool
	}{{537, 400123, true}, {200, 77, true}, {53, 0, false}, {2, 0, false}} {
		if n, served := queueLine(list, tt.number); n != tt.packets || served != tt.served {
			t.Errorf("queue %d: %d packets, served %t", tt.number, n, served)
		}
	}
}

// The two halves that the floor makes are what it was given.
func TestSplitter(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 25)
	src, dst := endpoints(1)
	s := packet.Segment{Src: src, Dst: dst, Seq: 1<<32 - 40, Ack: 7, Flags: packet.ACK | packet.PSH, Window: 500, Payload: payload}
	var h splitter
	var out engine.Batch
	p := engine.Packet{Bytes: s.Append(nil)}
	if v := h.Handle(time.Time{}, &p, &out); v != engine.Replace || out.Len() != 2 {
		t.Fatalf("verdict %v, %d packets", v, out.Len())
	}
	var back, front packet.View
	if !back.Decode(out.At(0).Bytes) || !front.Decode(out.At(1).Bytes) ||
		!packet.ChecksumOK(out.At(0).Bytes) || !packet.ChecksumOK(out.At(1).Bytes) {
		t.Fatal("no packets")
	}
	if got := append(bytes.Clone(front.Payload), back.Payload...); !bytes.Equal(got, payload) || back.Seq != front.Seq+splitAt {
		t.Errorf("%d and %d bytes, from %d and %d", len(front.Payload), len(back.Payload), front.Seq, back.Seq)
	}
	s.Payload = payload[:100]
	p.Bytes = s.Append(nil)
	if v := h.Handle(time.Time{}, &p, &out); v != engine.Accept|engine.Done {
		t.Errorf("a short one: %v", v)
	}
}
