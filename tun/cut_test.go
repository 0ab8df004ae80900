package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"b4/engine"
	"b4/packet"
)

// rejoin checks the segments of a superpacket one by one and puts them together
// again. whole is the superpacket with its checksums filled in.
func rejoin(t *testing.T, whole []byte, h *Header, b *engine.Batch) {
	t.Helper()
	var w packet.View
	if !w.Decode(whole) {
		t.Fatalf("superpacket %x", whole)
	}
	payload := whole[w.Hdr:]
	for i := range b.Len() {
		seg := b.At(i).Bytes
		var v packet.View
		if !v.Decode(seg) || !packet.ChecksumOK(seg) {
			t.Fatalf("segment %d: %x", i, seg)
		}
		first, last := i == 0, i == b.Len()-1
		if n := len(v.Payload); n > int(h.GSOSize) || n == 0 || !last && n != int(h.GSOSize) || n > len(payload) || !bytes.Equal(v.Payload, payload[:n]) {
			t.Fatalf("segment %d: %d bytes of payload, or others", i, n)
		}
		off := len(whole) - w.Hdr - len(payload)
		payload = payload[len(v.Payload):]

		// The superpacket's headers, with what must differ made so.
		want := bytes.Clone(whole[:w.Hdr])
		if want[0]>>4 == 4 {
			binary.BigEndian.PutUint16(want[4:], binary.BigEndian.Uint16(want[4:])+uint16(i))
		}
		if w.Proto == packet.TCP {
			binary.BigEndian.PutUint32(want[w.IPLen+4:], w.Seq+uint32(off))
			if !first {
				want[w.IPLen+13] &^= packet.CWR
			}
			if !last {
				want[w.IPLen+13] &^= packet.FIN | packet.PSH
			}
		}
		want = append(want, v.Payload...)
		packet.Finish(want, w.IPLen, w.Proto)
		if !bytes.Equal(seg, want) {
			t.Fatalf("segment %d:\n%x, want\n%x", i, seg[:v.Hdr], want[:v.Hdr])
		}
	}
	if len(payload) > 0 {
		t.Fatalf("%d bytes are missing", len(payload))
	}
}

func TestCut(t *testing.T) {
	for _, ip := range []string{"v4", "v6", "v6 with extension"} {
		for _, proto := range []uint8{packet.TCP, packet.UDP} {
			for _, tt := range []struct{ payload, size, segments int }{
				{3000, 1460, 3}, {2920, 1460, 2}, {1461, 1460, 2}, {1460, 1460, 1}, {1, 1460, 1}, {65000, 536, 122}, {50, 1, 50}, {9, 65535, 1},
			} {
				t.Run(fmt.Sprintf("%s proto %d, %d by %d", ip, proto, tt.payload, tt.size), func(t *testing.T) {
					b := sample(ip[:2], proto, tt.payload)
					if len(ip) > 2 {
						b = extend(b, 16)
					}
					if l, _ := transport(b); proto == packet.TCP {
						b[l.l4+13] |= packet.FIN | packet.CWR
					}
					whole := bytes.Clone(b)
					h := super(b, tt.size)
					h.GSOType |= gsoECN * uint8(proto&2>>1) // of TCP, 6
					var batch engine.Batch
					if err := Cut(&h, append(b, 1, 2, 3), &batch, engine.Meta{Out: 5}); err != nil || batch.Len() != tt.segments {
						t.Fatalf("%d segments, %v", batch.Len(), err)
					}
					if batch.At(0).Out != 5 {
						t.Error("other meta")
					}
					rejoin(t, whole, &h, &batch)
				})
			}
		}
	}
}

func TestCutRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		ip   string
		edit func(h *Header, b []byte) []byte
		want error
	}{
		{"not IP", "v4", func(_ *Header, b []byte) []byte { return b[:10] }, errNotIP},
		{"cut short", "v4", func(_ *Header, b []byte) []byte { return b[:len(b)-1] }, errNotIP},
		{"cut short v6", "v6", func(_ *Header, b []byte) []byte { return b[:len(b)-1] }, errNotIP},
		{"IHL below 20", "v4", func(_ *Header, b []byte) []byte { b[0] = 0x44; return b }, errNotIP},
		{"fragment", "v4", func(_ *Header, b []byte) []byte { b[6] = 0x20; return b }, errTransport},
		{"other protocol", "v4", func(_ *Header, b []byte) []byte { b[9] = 47; return b }, errTransport},
		{"fragment v6", "v6", func(_ *Header, b []byte) []byte { b[6] = 44; return b }, errTransport},
		{"extension past the end", "v6", func(_ *Header, b []byte) []byte { b[6], b[41] = 0, 255; return b }, errTransport},
		{"routing header with segments left", "v6", func(_ *Header, b []byte) []byte {
			b = extend(b, 24)
			b[6], b[43] = 43, 1
			return b
		}, errTransport},
		{"data offset below 20", "v4", func(_ *Header, b []byte) []byte { b[32] = 0x40; return b }, errTransport},
		{"data offset past the end", "v4", func(_ *Header, b []byte) []byte {
			b[32] = 0xf0
			return shorten(b, 60)
		}, errTransport},
		{"v6 type", "v4", func(h *Header, b []byte) []byte { h.GSOType = gsoTCPv6; return b }, errGSOType},
		{"v4 type", "v6", func(h *Header, b []byte) []byte { h.GSOType = gsoTCPv4; return b }, errGSOType},
		{"UDP type", "v4", func(h *Header, b []byte) []byte { h.GSOType = gsoUDP; return b }, errGSOType},
		{"fragments", "v4", func(h *Header, b []byte) []byte { h.GSOType = 3; return b }, errGSOType},
		{"no type", "v4", func(h *Header, b []byte) []byte { h.GSOType = gsoECN; return b }, errGSOType},
		{"size zero", "v4", func(h *Header, b []byte) []byte { h.GSOSize = 0; return b }, errGSOSize},
		{"no payload", "v4", func(_ *Header, b []byte) []byte { return shorten(b, 52) }, errNoPayload},
		{"checksum of the IP header", "v4", func(h *Header, b []byte) []byte { h.CsumStart, h.CsumOffset = 0, 10; return b }, errPartial},
		{"checksum elsewhere", "v6", func(h *Header, b []byte) []byte { h.CsumOffset = 6; return b }, errPartial},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := sample(tt.ip, packet.TCP, 3000)
			h := super(b, 1000)
			b = tt.edit(&h, b)
			var batch engine.Batch
			if err := Cut(&h, b, &batch, engine.Meta{}); !errors.Is(err, tt.want) || batch.Len() > 0 {
				t.Errorf("%d segments, %v", batch.Len(), err)
			}
		})
	}
}

// shorten declares an IPv4 packet to have n bytes.
func shorten(b []byte, n int) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b[:n]
}

func TestHeader(t *testing.T) {
	h := Header{1, 2, 0x0304, 0x0506, 0x0708, 0x090a}
	var b [HeaderLen]byte
	h.encode(b[:])
	var got Header
	if got.decode(b[:]); got != h || b[0] != 1 || b[1] != 2 || binary.NativeEndian.Uint16(b[8:]) != 0x090a {
		t.Errorf("%x is %+v", b, got)
	}
}

func TestComplete(t *testing.T) {
	for _, ip := range []string{"v4", "v6"} {
		for _, proto := range []uint8{packet.TCP, packet.UDP} {
			want := sample(ip, proto, 33)
			b := bytes.Clone(want)
			h := super(b, 0)
			h.GSOType = gsoNone
			if err := h.Complete(b); err != nil || !bytes.Equal(b, want) {
				t.Errorf("%s proto %d: %v, %x", ip, proto, err, b)
			}
			var none Header
			if err := none.Complete(b); err != nil || !bytes.Equal(b, want) {
				t.Error("touched a packet whose checksum is there")
			}
		}
	}
	// A sum of zero is written as its complement.
	b := sample("v4", packet.UDP, 2)
	b[28], b[29] = 0, 0
	packet.Finish(b, 20, packet.UDP)
	copy(b[28:], b[26:28]) // then it sums to zero without the field
	h := super(b, 0)
	if err := h.Complete(b); err != nil || b[26] != 0xff || b[27] != 0xff || !packet.ChecksumOK(b) {
		t.Errorf("%v, %x", err, b)
	}
}

func FuzzHeader(f *testing.F) {
	for _, ip := range []string{"v4", "v6"} {
		b := sample(ip, packet.TCP, 10)
		h := super(b, 4)
		var head [HeaderLen]byte
		h.encode(head[:])
		f.Add(head[:], b)
	}
	f.Fuzz(func(t *testing.T, head, b []byte) {
		if len(head) < HeaderLen || len(b) == 0 {
			return
		}
		var h Header
		h.decode(head)
		before := bytes.Clone(b)
		if err := h.Complete(b); err == nil && h.Flags&needsCsum != 0 {
			// At most the field has changed, and the sum from the start is right.
			at := int(h.CsumStart) + int(h.CsumOffset)
			copy(before[at:], b[at:at+2])
		}
		if !bytes.Equal(b, before) {
			t.Errorf("%+v: touched more than the checksum", h)
		}
		var c Cutter
		if err := c.Reset(&h, b); err != nil && c.Len() != 0 {
			t.Errorf("refused, and %d bytes left", c.Len())
		}
		chatter(b)
		Signal(make([]byte, maxSignal), b)
	})
}

func FuzzCut(f *testing.F) {
	for _, ip := range []string{"v4", "v6"} {
		for _, proto := range []uint8{packet.TCP, packet.UDP} {
			b := sample(ip, proto, 100)
			f.Add(b, uint16(30), true)
			f.Add(b, uint16(100), false)
		}
	}
	f.Add(extend(sample("v6", packet.TCP, 50), 24), uint16(7), true)
	// A segment of TCP whose checksum is zero, which is not UDP's "none".
	zero := sample("v4", packet.TCP, 2)
	clear(zero[40:])
	packet.Finish(zero, 20, packet.TCP)
	copy(zero[40:], zero[36:38])
	f.Add(zero, uint16(2), false)
	f.Fuzz(func(t *testing.T, b []byte, size uint16, flags bool) {
		n, ok := length(b)
		if !ok {
			return
		}
		b = b[:n]
		l, ok := transport(b)
		if !ok {
			return
		}
		if flags && l.proto == packet.TCP {
			b[l.l4+13] |= packet.FIN | packet.PSH | packet.CWR
		}
		if l.proto == packet.UDP { // one whose own length is not the packet's is no superpacket
			binary.BigEndian.PutUint16(b[l.l4+4:], uint16(len(b)-l.l4))
		}
		whole := bytes.Clone(b)
		packet.Finish(whole, l.l4, l.proto)
		h := super(b, int(size))
		var batch engine.Batch
		if err := Cut(&h, b, &batch, engine.Meta{}); err != nil {
			if size > 0 && len(b) > l.hdr {
				t.Fatalf("%+v, %x: %v", h, b, err)
			}
			return
		}
		rejoin(t, whole, &h, &batch)
	})
}

func BenchmarkCut(b *testing.B) {
	for _, ip := range []string{"v4", "v6"} {
		b.Run(ip, func(b *testing.B) {
			pkt := sample(ip, packet.TCP, 44*1428)
			h := super(pkt, 1428)
			var c Cutter
			var seg [1500]byte
			b.ReportAllocs()
			b.SetBytes(int64(len(pkt)))
			for range b.N {
				if c.Reset(&h, pkt) != nil {
					b.Fatal()
				}
				for c.Len() > 0 {
					c.Next(seg[:])
				}
			}
		})
	}
}
