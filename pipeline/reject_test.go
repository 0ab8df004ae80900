package pipeline

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"b4/engine"
	"b4/flow"
	"b4/packet"
)

func TestRejectDatagram(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		r := newQUICRig(t, forQUIC(t, host, Reject, ""))
		r.v6 = v6
		payload := r.initial(0, cryptoHello(host, 0, false))
		pkt := r.packet(payload)
		hdr := len(pkt.Bytes) - len(payload)
		r.want(engine.Replace, "rejected", payload)
		var in, v packet.View
		in.Decode(pkt.Bytes)
		if len(r.wire) != 1 || !v.Decode(r.wire[0]) || v.Src != in.Src || v.Dst != in.Dst || len(v.Payload) != 0 || v.TTL != 1 {
			t.Fatalf("leaves for the server: %x", r.wire)
		}
		if r.back != nil {
			t.Error("answered before conntrack knows the flow")
		}
		r.wait(answerAfter)
		if len(r.back) != 1 {
			t.Fatalf("%d answers", len(r.back))
		}
		b := r.back[0]
		v.Decode(b)
		kind, most := [2]byte{3, 3}, 576
		if v6 {
			kind, most = [2]byte{1, 4}, 1280
		}
		if v.Src.Addr() != in.Dst.Addr() || v.Dst.Addr() != in.Src.Addr() || [2]byte(b[v.IPLen:]) != kind {
			t.Errorf("the answer: %x", b[:v.Hdr])
		}
		if quote := b[v.Hdr:]; !bytes.HasPrefix(pkt.Bytes, quote) || len(b) != min(most, v.Hdr+hdr+len(payload)) {
			t.Errorf("the answer has %d bytes and quotes %x", len(b), quote[:hdr])
		}

		r.want(engine.Drop, "rejected", payload)
		r.want(engine.Drop, "dropped", r.long(zeroRTT, 100))
		r.port++
		r.want(engine.Replace, "rejected", payload)
		r.port--
		r.now = r.now.Add(answerEvery)
		r.want(engine.Replace, "rejected", payload)
		r.wait(answerAfter)
		if len(r.back) != 3 {
			t.Errorf("%d answers to three", len(r.back))
		}
	}
}

// Flows whose hashes share a place are told apart.
func TestAnswersShared(t *testing.T) {
	var a answers
	now := time.Unix(1000, 0)
	told := 0
	for port := range uint16(4 * keptAnswers) {
		v := packet.View{Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Dst: netip.MustParseAddrPort("198.51.100.7:443")}
		if a.due(now, flow.KeyOf(&v)) {
			told++
		}
		if a.due(now, flow.KeyOf(&v)) {
			t.Error("told twice")
		}
	}
	if told != 4*keptAnswers {
		t.Errorf("%d told of %d", told, 4*keptAnswers)
	}
}

// Where an answer cannot be put off it still stands apart from what replaces the
// packet: if it cannot be sent, the packet does not go on.
func TestRejectDatagramNoRoom(t *testing.T) {
	r := newQUICRig(t, forQUIC(t, host, Reject, ""))
	for range maxLater {
		r.p.wheel.put(r.now, engine.Out{After: time.Hour})
	}
	r.want(engine.Replace, "rejected", r.initial(0, cryptoHello(host, 0, false)))
	if len(r.back) != 1 || r.out.Len() != 2 || r.out.Others() != 1 {
		t.Errorf("%d answers, %d packets, %d of others", len(r.back), r.out.Len(), r.out.Others())
	}
}

// Nobody is told who has no address.
func TestRejectDatagramFromNobody(t *testing.T) {
	r := newQUICRig(t, forQUIC(t, "", Reject, ""))
	pkt := r.packet(r.initial(0, cryptoHello(host, 0, false)))
	copy(pkt.Bytes[12:], []byte{0, 0, 0, 0})
	packet.Finish(pkt.Bytes, 20, packet.UDP)
	if v, why := r.handle(pkt); v != engine.Drop || why != "rejected" || r.out.Len() != 0 {
		t.Errorf("verdict %#x because %s", v, why)
	}
}

func TestRejectSegment(t *testing.T) {
	tests := []struct {
		name  string
		flags uint8
		want  packet.View // of the RST
		none  bool
	}{
		{name: "data", flags: packet.ACK | packet.PSH, want: packet.View{Flags: packet.RST, Seq: 900}},
		{name: "data and FIN", flags: packet.ACK | packet.FIN, want: packet.View{Flags: packet.RST, Seq: 900}},
		{name: "SYN", flags: packet.SYN, want: packet.View{Flags: packet.RST | packet.ACK, Ack: 106}},
		{name: "FIN alone", flags: packet.FIN, want: packet.View{Flags: packet.RST | packet.ACK, Ack: 106}},
		{name: "neither", want: packet.View{Flags: packet.RST | packet.ACK, Ack: 105}},
		{name: "RST", flags: packet.RST, none: true},
	}
	for _, src := range []string{"192.0.2.1:40000", "[2001:db8::1]:40000"} {
		from := netip.MustParseAddrPort(src)
		to := netip.AddrPortFrom(from.Addr().Next(), 443)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				var out engine.Batch
				p := New(4, &Config{})
				p.now, p.out = time.Unix(1000, 0), &out
				s := packet.Segment{Src: from, Dst: to, Seq: 100, Ack: 900, Flags: tt.flags, Payload: []byte("hello")}
				pkt := &engine.Packet{Bytes: s.Append(nil), Meta: engine.Meta{Mark: 7, Out: 3}}
				p.view.Decode(pkt.Bytes)
				for range 2 {
					if v := p.reject(pkt); v != engine.Drop {
						t.Errorf("verdict %#x", v)
					}
				}
				if tt.none {
					if out.Len() != 0 {
						t.Errorf("answered by %x", out.At(0).Bytes)
					}
					return
				}
				if out.Len() != 1 || out.At(0).Meta != (engine.Meta{Back: true}) || !packet.ChecksumOK(out.At(0).Bytes) {
					t.Fatalf("%d answers: %+v", out.Len(), out.At(0))
				}
				var v packet.View
				v.Decode(out.At(0).Bytes)
				if v.Src != to || v.Dst != from || v.Flags != tt.want.Flags || v.Seq != tt.want.Seq || v.Ack != tt.want.Ack || len(v.Payload) != 0 {
					t.Errorf("answered by %+v", v)
				}
			})
		}
	}
}
