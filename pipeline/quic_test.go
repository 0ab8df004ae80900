package pipeline

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/quic"
)

func TestQUICHello(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, version := range []quic.Version{quic.V1, quic.V2, quic.Draft29} {
			r := newQUICRig(t)
			r.v6, r.version = v6, version
			msg := cryptoHello(host, 0, false)
			r.want(engine.Replace, "treated", r.initial(0, msg))
			if len(r.wire) != 2 {
				t.Fatalf("%d packets", len(r.wire))
			}
			r.reads(msg)
			r.want(engine.Replace, "again", r.initial(0, msg))
			if version == quic.V1 {
				r.want(engine.Replace, "finished", slices.Concat(r.initial(0, nil), r.long(handshake, 60)))
				r.want(engine.Accept, "quic_other", r.long(handshake, 60))
				if n := r.p.quic.flows.Len(); n != 0 {
					t.Errorf("%d flows", n)
				}
			}
			got := r.p.Recent()
			if len(got) != 1 || got[0].Host != host || got[0].Proto != "quic" || got[0].Hellos != 1 || got[0].Again != 1 ||
				got[0].Strategy != "fake(sni=www.w3.org, ttl=3)" || version == quic.V1 && got[0].Answered != 1 {
				t.Errorf("recent hosts %+v", got)
			}
		}
	}
}

// A real hello, of RFC 9001 and RFC 9369 appendix A.
func TestQUICVectors(t *testing.T) {
	for _, name := range []string{"v1", "v2"} {
		text, err := os.ReadFile("../quic/testdata/" + name + ".hex")
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		r := newQUICRig(t, forQUIC(t, "example.com", Drop, ""))
		r.want(engine.Drop, "dropped", b)
	}
}

// A hello over two datagrams, of which either may come first, and the name in
// either.
func TestQUICTwoDatagrams(t *testing.T) {
	for _, nameLast := range []bool{false, true} {
		msg := cryptoHello(host, 1700, nameLast)
		for _, swapped := range []bool{false, true} {
			for _, certain := range []bool{false, true} {
				name := host
				if certain {
					name = ""
				}
				r := newQUICRig(t, forQUIC(t, name, Desync, "fake(ttl=3)"))
				one, two := r.initial(0, msg[:1100]), r.initial(1100, msg[1100:])
				first, second := one, two
				if swapped {
					first, second = two, one
				}
				named := !nameLast && !swapped // with the first datagram
				switch {
				case named:
					r.want(engine.Replace, "treated", first)
					r.want(engine.Replace, "again", second)
				case certain:
					r.want(engine.Replace, "treated", first)
					r.want(engine.Replace, "treated", second)
				default:
					r.want(engine.Accept, "quic_part", first)
					r.want(engine.Replace, "treated", second)
				}
				r.reads(msg)
				r.want(engine.Replace, "again", one)
				r.want(engine.Replace, "again", two)
				if n := r.p.messages[desync.QUIC].Load(); n != 1 {
					t.Errorf("%d hellos", n)
				}
			}
		}
	}
}

func TestQUICCoalesced(t *testing.T) {
	msg := cryptoHello(host, 0, false)
	for _, zeroFirst := range []bool{false, true} {
		r := newQUICRig(t)
		in := slices.Concat(r.initial(0, msg), r.long(zeroRTT, 200))
		if zeroFirst {
			in = slices.Concat(r.long(zeroRTT, 200), r.initial(0, msg))
		}
		r.want(engine.Replace, "treated", in)
		r.reads(msg)
		if last := r.wire[len(r.wire)-1]; !bytes.HasSuffix(last, in) {
			t.Error("the early data is gone")
		}
		r.want(engine.Accept, "quic_other", r.long(zeroRTT, 1200))
		r.want(engine.Replace, "again", in)
	}
}

// The server has sent a Retry: another id, from which new keys follow, a token,
// and the hello again.
func TestQUICRetry(t *testing.T) {
	r := newQUICRig(t)
	msg := cryptoHello(host, 1700, true)
	for i := range 2 {
		r.wire = nil
		one, two := r.initial(0, msg[:1100]), r.initial(1100, msg[1100:])
		if i == 0 {
			r.want(engine.Accept, "quic_part", one)
			r.want(engine.Replace, "treated", two)
		} else {
			r.want(engine.Replace, "again", one)
			r.want(engine.Replace, "again", two)
		}
		r.reads(msg)
		r.id, r.token = "the server's", []byte("token")
	}
}

// The server has asked for another hello by HelloRetryRequest.
func TestQUICSecondHello(t *testing.T) {
	r := newQUICRig(t)
	one, two := cryptoHello(host, 0, false), cryptoHello(host, 700, true)
	r.want(engine.Replace, "treated", r.initial(0, one))
	r.want(engine.Replace, "again", r.initial(len(one), two[:400]))
	r.want(engine.Replace, "again", r.initial(len(one)+400, two[400:]))
	r.reads(slices.Concat(one, two))
}

// Another connection of the same ports has a rule of its own.
func TestQUICPortsUsedAgain(t *testing.T) {
	r := newQUICRig(t, forQUIC(t, "bad.example", Drop, ""), forQUIC(t, host, Desync, "fake(ttl=3)"))
	for i, id := range []string{"one's id", "two's id", "three's id"} {
		r.id = id
		name, v, why := "bad.example", engine.Drop, "dropped"
		if i == 1 {
			name, v, why = host, engine.Replace, "treated"
		}
		r.want(v, why, r.initial(0, cryptoHello(name, 0, false)))
	}
}

func TestQUICUntouched(t *testing.T) {
	r := newQUICRig(t, forQUIC(t, "", Desync, "fake(ttl=3)"))
	greased := r.initial(0, cryptoHello(host, 0, false))
	copy(greased[1:], "\x1a\x2a\x3a\x4a")
	negotiation := bytes.Clone(greased)
	copy(negotiation[1:], "\x00\x00\x00\x00")
	spoilt := r.initial(0, cryptoHello(host, 0, false))
	spoilt[len(spoilt)-1] ^= 1
	tests := []struct {
		name string
		in   []byte
		why  string
	}{
		{"nothing", nil, "not_quic"},
		{"short header", append([]byte{0x40}, make([]byte, 1200)...), "not_quic"},
		{"dtls", append([]byte{22, 254, 253}, make([]byte, 200)...), "not_quic"},
		{"rtp", append([]byte{0x80, 96}, make([]byte, 200)...), "not_quic"},
		{"one byte", []byte{0xc0}, "not_quic"},
		{"cut short", greased[:20], "not_quic"},
		{"greased version", greased, "not_quic"},
		{"negotiation", negotiation, "quic_other"},
		{"0-rtt", r.long(zeroRTT, 1200), "quic_other"},
		{"handshake of an unknown flow", r.long(handshake, 40), "quic_other"},
		{"retry", r.long(0xf0, 40), "quic_other"},
		{"does not open", spoilt, "quic_odd"},
		{"no hello", r.initial(0, []byte("\x02 this is no ClientHello")), "quic_odd"},
		{"too far", r.initial(1<<14-1, []byte("beyond the bound")), "quic_odd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			r.want(engine.Accept, tt.why, tt.in)
			if n := r.p.quic.flows.Len(); n != 0 {
				t.Errorf("%d flows kept", n)
			}
		})
	}
	msg := r.initial(0, cryptoHello(host, 0, false))
	reply := r.packet(msg)
	reply.Dir = engine.Reply
	if v, why := r.handle(reply); v != engine.Accept || why != "reply" {
		t.Errorf("a reply: %#x because %s", v, why)
	}
	super := r.packet(msg)
	super.Super = true
	if v, why := r.handle(super); v != engine.Accept || why != "cut" {
		t.Errorf("many datagrams in one: %#x because %s", v, why)
	}
	if Whole(super.Bytes) || Whole(super.Bytes[:100]) || !Whole(r.packet([]byte{0x40, 1, 2, 3}).Bytes) {
		t.Error("not told which datagrams must come one by one")
	}
}

func TestQUICActions(t *testing.T) {
	named, nameless := cryptoHello(host, 0, false), cryptoHello(host, 0, false)
	i := bytes.Index(nameless, []byte(host)) - 9 // the extension's type: one that nobody knows
	nameless[i], nameless[i+1] = 0xfa, 0xfa
	tests := []struct {
		name string
		msg  []byte
		rule Rule
		v    engine.Verdict
		why  string
	}{
		{"pass", named, forQUIC(t, host, Pass, ""), engine.Accept, "passed"},
		{"no rule", named, forQUIC(t, "other.example", Drop, ""), engine.Accept, "no_rule"},
		{"no name", nameless, forQUIC(t, host, Drop, ""), engine.Accept, "no_name"},
		{"no steps", named, forQUIC(t, host, Desync, ""), engine.Accept, "as_is"},
		{"drop", named, forQUIC(t, host, Drop, ""), engine.Drop, "dropped"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newQUICRig(t, tt.rule)
			for range 3 {
				r.want(tt.v, tt.why, r.initial(0, tt.msg))
			}
			if got := r.p.Recent(); tt.why != "no_name" && (len(got) != 1 || got[0].Hellos != 1 || got[0].Why != tt.why) {
				t.Errorf("recent hosts %+v", got)
			}
			if tt.why == "dropped" {
				r.want(engine.Drop, "dropped", r.long(zeroRTT, 1000))
				spoilt := r.initial(0, tt.msg)
				spoilt[len(spoilt)-1] ^= 1
				r.want(engine.Drop, "dropped", spoilt)
				r.want(engine.Drop, "dropped", r.long(handshake, 60))
				return
			}
			r.want(engine.Accept, "finished", r.long(handshake, 60))
		})
	}
}

// What is let go for want of room comes again, and the rule still holds.
func TestQUICForgotten(t *testing.T) {
	r := newQUICRig(t)
	msg := cryptoHello(host, 1700, true)
	one, two := r.initial(0, msg[:1100]), r.initial(1100, msg[1100:])
	r.want(engine.Accept, "quic_part", one)
	r.want(engine.Replace, "treated", two)
	for i := range maxConns {
		r.port = uint16(50000 + i)
		r.id = "another's"
		r.send(r.initial(0, msg[:100]))
	}
	r.port = 40000
	r.want(engine.Replace, "again", two) // which has no name
	spoilt := bytes.Clone(one)
	spoilt[len(spoilt)-1] ^= 1 // what was sealed by another id looks like this
	for i := range maxConns {
		r.port = uint16(50000 + i)
		r.send(r.initial(0, msg[:100]))
	}
	r.port = 40000
	r.want(engine.Replace, "again", spoilt)
	for i := range maxInitials {
		r.port = uint16(50000 + i)
		r.send(r.initial(0, msg[:100]))
	}
	r.port = 40000
	r.want(engine.Accept, "quic_part", two)
	r.wait(2 * time.Minute)
	if n := r.p.quic.flows.Len(); n != 0 {
		t.Errorf("%d flows after two minutes", n)
	}
	for _, k := range r.p.quic.kept {
		if k.flow != nil {
			t.Fatal("a flow that is gone has a handshake")
		}
	}
}

func TestQUICTrace(t *testing.T) {
	r := newQUICRig(t)
	var got []Event
	stop, _ := r.p.Trace(&Tracer{Hosts: set(t, host), Each: func(e Event) { got = append(got, e) }})
	defer stop()
	r.send(r.initial(0, cryptoHello("other.example", 0, false)))
	r.port++
	r.send(r.initial(0, cryptoHello(host, 0, false)))
	r.send(r.long(handshake, 60))
	if len(got) != 2 || got[0].Proto != "quic" || got[0].Host != host || got[0].Rule != "video" || got[0].Why != "treated" ||
		len(got[0].Packets) != 2 || got[1].Why != "finished" {
		t.Fatalf("%+v", got)
	}
}
