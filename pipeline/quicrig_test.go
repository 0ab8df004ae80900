package pipeline

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/packet"
	"b4/quic"
)

// A quicRig feeds a pipeline with a client's datagrams and collects what leaves.
type quicRig struct {
	t    testing.TB
	p    *Pipeline
	out  engine.Batch
	now  time.Time
	v6   bool
	port uint16
	mark uint32

	version quic.Version
	id      string
	token   []byte
	number  uint32
	sealer  quic.Sealer

	wire [][]byte // whole packets, in order
	back [][]byte // those to the client
}

// forQUIC is a rule for a name, or for all if it is empty.
func forQUIC(t testing.TB, name string, a Action, steps string) Rule {
	r := Rule{Name: "video"}
	if name != "" {
		r.Domains = set(t, name)
	}
	r.For[desync.QUIC] = Treatment{Action: a}
	if steps != "" {
		s, err := desync.QUIC.Parse(steps)
		if err != nil {
			t.Fatal(err)
		}
		r.For[desync.QUIC].Steps = s
	}
	return r
}

func newQUICRig(t testing.TB, rules ...Rule) *quicRig {
	if rules == nil {
		rules = []Rule{forQUIC(t, host, Desync, "fake(ttl=3)")}
	}
	return &quicRig{
		t: t, p: New(64, &Config{Rules: rules}), now: time.Unix(1000, 0), port: 40000, mark: 7,
		version: quic.V1, id: "clientid",
	}
}

// cryptoHello is a ClientHello as CRYPTO frames carry it, of about size bytes,
// with the name in front or behind what fills it.
func cryptoHello(name string, size int, nameLast bool) []byte {
	return hello(name, size+5, nameLast)[5:]
}

// initial is a datagram with one Initial packet.
func (r *quicRig) initial(off int, crypto []byte) []byte {
	r.number++
	b, err := r.sealer.Append(nil, &quic.Packet{
		Version: r.version, DCID: []byte(r.id), SCID: []byte("own"), Token: r.token,
		Number: r.number, Offset: off, Crypto: crypto,
	}, quic.MinDatagram)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// long is a packet with a long header of version 1 that says nothing.
func (r *quicRig) long(first byte, size int) []byte {
	b := append([]byte{first, 0, 0, 0, 1, byte(len(r.id))}, r.id...)
	b = append(append(b, 3), "own"...)
	b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(size))
	return append(b, make([]byte, size)...)
}

const (
	zeroRTT   = 0xd0
	handshake = 0xe0
)

// packet is a datagram with its headers.
func (r *quicRig) packet(payload []byte) *engine.Packet {
	b := make([]byte, 28, 28+len(payload))
	src, dst := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	b[0], b[6], b[8], b[9] = 0x45, 0x40, 63, packet.UDP
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	if r.v6 {
		src, dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::7")
		b = make([]byte, 48, 48+len(payload))
		b[0], b[6], b[7] = 0x60, packet.UDP, 63
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
	}
	ipLen := len(b) - 8
	binary.BigEndian.PutUint16(b[ipLen:], r.port)
	binary.BigEndian.PutUint16(b[ipLen+2:], 443)
	b = append(b, payload...)
	packet.Finish(b, ipLen, packet.UDP)
	return &engine.Packet{Bytes: b, Full: len(b), Meta: engine.Meta{Mark: r.mark, Out: 3}}
}

func (r *quicRig) send(payload []byte) (engine.Verdict, string) {
	r.t.Helper()
	return r.handle(r.packet(payload))
}

func (r *quicRig) handle(pkt *engine.Packet) (engine.Verdict, string) {
	r.t.Helper()
	r.out.Reset()
	before, in := r.p.Counts(), bytes.Clone(pkt.Bytes)
	v := r.p.Handle(r.now, pkt, &r.out)
	r.collect()
	if !bytes.Equal(in, pkt.Bytes) {
		r.t.Error("the packet at hand was written to")
	}
	switch {
	case v.Act() == engine.Accept:
		r.wire = append(r.wire, in)
	case v.Act() == engine.Replace && r.out.Len() == r.out.Others():
		r.t.Error("replaced by nothing")
	}
	var why []string
	for reason, n := range r.p.Counts() {
		if n != before[reason] {
			why = append(why, reason)
		}
	}
	return v, strings.Join(why, "+")
}

func (r *quicRig) collect() {
	r.t.Helper()
	for i := range r.out.Len() {
		o := r.out.At(i)
		switch b := bytes.Clone(o.Bytes); {
		case !packet.ChecksumOK(b):
			r.t.Errorf("wrong checksum: %x", b)
		case o.Back:
			if o.Mark != 0 || o.Out != 0 {
				r.t.Error("an answer has the mark or the device of what it answers")
			}
			r.back = append(r.back, b)
		case o.Mark != r.mark || o.Out != 3:
			r.t.Errorf("packet leaves with mark %d by device %d", o.Mark, o.Out)
		default:
			r.wire = append(r.wire, b)
		}
	}
}

func (r *quicRig) wait(d time.Duration) {
	r.t.Helper()
	r.now = r.now.Add(d)
	r.out.Reset()
	r.p.Tick(r.now, &r.out)
	r.collect()
}

// want sends a datagram and asserts what becomes of it.
func (r *quicRig) want(v engine.Verdict, why string, payload []byte) {
	r.t.Helper()
	if gotV, gotWhy := r.send(payload); gotV != v || gotWhy != why {
		r.t.Errorf("verdict %#x because %s, want %#x because %s", gotV, gotWhy, v, why)
	}
}

// reads asserts that the server has the client's handshake bytes.
func (r *quicRig) reads(want []byte) {
	r.t.Helper()
	got := r.message(r.wire)
	if !bytes.Equal(got, want) {
		r.t.Errorf("the server has %d bytes of the client's %d", len(got), len(want))
	}
}
