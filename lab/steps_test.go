package lab

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"

	"b4/packet"
)

// A wireStep is a strategy, and how a packet on the path shows that it is at work;
// nil is for what no single packet shows.
type wireStep struct {
	strategy string
	shows    func(d Direction, pkt []byte, v *packet.View) bool
}

func synWith(d Direction, v *packet.View) bool {
	return d == ToServer && v.Flags&(packet.SYN|packet.ACK) == packet.SYN && len(v.Payload) > 0
}

func dataOfSYN(d Direction, _ []byte, v *packet.View) bool { return synWith(d, v) }

func badSum(d Direction, pkt []byte, _ *packet.View) bool {
	return d == ToServer && !packet.ChecksumOK(pkt)
}

func shortTTL(d Direction, _ []byte, v *packet.View) bool { return d == ToServer && v.TTL < 16 }

func signed(d Direction, pkt []byte, v *packet.View) bool {
	_, has := v.TCPOption(pkt, 19)
	return d == ToServer && has
}

func reset(d Direction, _ []byte, v *packet.View) bool {
	return d == ToServer && v.Flags&packet.RST != 0
}

func atMost(n int) func(Direction, []byte, *packet.View) bool {
	return func(d Direction, _ []byte, v *packet.View) bool {
		return d == ToServer && len(v.Payload) > 0 && len(v.Payload) <= n
	}
}

func fragment(d Direction, pkt []byte, _ *packet.View) bool {
	if pkt[0]>>4 == 6 {
		return d == ToServer && pkt[6] == 44
	}
	return d == ToServer && binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0
}

// optioned matches an options header of IPv6; IPv4 has none.
func optioned(d Direction, pkt []byte, v *packet.View) bool {
	return d == ToServer && (v.Src.Addr().Is4() || pkt[6] == 0 || pkt[6] == 60)
}

// twice matches a client's packet with payload that comes a second time.
func twice() func(Direction, []byte, *packet.View) bool {
	seen := map[string]bool{}
	return func(d Direction, _ []byte, v *packet.View) bool {
		if d != ToServer || len(v.Payload) == 0 {
			return false
		}
		key := fmt.Sprint(v.Src, v.Seq, string(v.Payload))
		again := seen[key]
		seen[key] = true
		return again
	}
}

// zeros matches what begins with bytes that no message does.
func zeros(d Direction, _ []byte, v *packet.View) bool {
	return d == ToServer && len(v.Payload) > 8 && binary.BigEndian.Uint64(v.Payload) == 0
}

var wireSteps = map[Proto][]wireStep{
	TLS: {
		{"syndata", dataOfSYN}, {"syndata(http)", dataOfSYN},
		{"synfake(ttl=auto)", shortTTL}, {"synfake(badsum)", badSum}, {"synfake(synack, ttl=auto)", shortTTL},
		{"wsize(40)", atMost(40)},
		{"split(midsld) delay(20)", nil},
		{"dup(1)", twice()}, {"dup(5)", twice()},
		{"ipfrag(32)", fragment}, {"ipfrag(24) dup(1)", fragment},
		{"ipid(zero)", nil}, {"ipid(seq)", nil}, {"ipid(rnd)", nil},
		{"fake(ttl=auto, place=after)", shortTTL}, {"split(midsld) fake(ttl=auto, place=around)", shortTTL},
		{"fake(badsum)", badSum}, {"fake(md5)", signed}, {"fake(badseq)", nil}, {"fake(badack)", nil}, {"fake(ts)", nil}, {"fake(noack)", nil},
		{"fake(hopbyhop)", nil}, {"fake(destopt)", optioned}, // a Linux router discards the former itself
		{"seqovl(8) split(midsld)", nil}, {"seqovl(600) split(midsld) disorder", zeros},
		{"rst(ttl=auto)", reset}, {"rst(badsum)", reset}, {"rst(md5)", reset}, {"rst(badseq, place=after)", reset},
		{"syndata wsize(40) fake(ttl=auto) split(midsld) disorder ipid(seq) delay(5)", dataOfSYN},
		{"synfake(ttl=auto-1) split(1, sniext, midsld, endhost, -1) disorder ipfrag(32) dup(1)", fragment},
	},
	HTTP: {
		{"syndata(http)", dataOfSYN}, {"wsize(20)", atMost(20)}, {"seqovl(4) split(host+1)", nil}, {"split(midsld) delay(20)", nil},
		{"methodeol hostcase domcase split(midsld) disorder ipid(seq) dup(1)", twice()},
	},
	QUIC: {
		{"dup(2)", twice()}, {"ipid(seq)", nil}, {"delay(5)", nil}, {"udplen(8)", nil},
		{"fake(hopbyhop)", nil}, {"fake(destopt) dup(1)", twice()},
		{"fake(ttl=auto, repeat=6) split(midsld) disorder ipfrag(8) delay(2)", fragment},
	},
}

// Steps of the handshake and of packets, through NFQUEUE: whatever they put on the
// wire, the page comes, intact, behind NAT of either family and without.
func TestStepsOnTheWire(t *testing.T) {
	t.Parallel()
	for proto, list := range wireSteps {
		t.Run(proto.String(), func(t *testing.T) {
			t.Parallel()
			l := build(t, Options{})
			d := launchB4D(t, l, configure("nfqueue"))
			for _, s := range list {
				if err := d.Reload(treated("nfqueue", proto, s.strategy)); err != nil {
					t.Error(err)
					continue
				}
				for _, fire := range []Firewall{House, {Masq6: true}} {
					if err := l.SetFirewall(fire); err != nil {
						t.Fatal(err)
					}
					s.open(t, l, proto, fire)
				}
			}
		})
	}
}

// open asks for the page in every way, and looks for the strategy on the wire.
func (s *wireStep) open(t *testing.T, l *Lab, proto Proto, fire Firewall) {
	var seen [2]atomic.Int32 // by family
	l.SetFilter(func(d Direction, pkt []byte) bool {
		var v packet.View
		whole := v.Decode(pkt)
		if s.shows != nil && (whole || fragment(d, pkt, &v)) && s.shows(d, pkt, &v) {
			seen[pkt[0]>>4/6].Add(1)
		}
		return true
	})
	defer l.SetFilter(nil)
	for i := range 4 {
		if fire.Masq6 && i&1 == 0 && s.shows == nil {
			continue // IPv4 without NAT is the lesser of its two
		}
		r := Request{Host: Blocked, Proto: proto, V6: i&1 != 0, Hello: Hello(i >> 1)}
		if err := l.Open(r); err != nil {
			t.Errorf("%s: v6 %t, %v hello, %+v: %v", s.strategy, r.V6, r.Hello, fire, err)
		}
	}
	if s.shows != nil && (seen[0].Load() == 0 || seen[1].Load() == 0) {
		t.Errorf("%s, %+v: seen %d times over IPv4, %d over IPv6", s.strategy, fire, seen[0].Load(), seen[1].Load())
	}
}
