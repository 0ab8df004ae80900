package pipeline

import (
	"encoding/binary"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"b4/engine"
	"b4/packet"
	"b4/quic"
)

// Hellos whose rest never comes, each as long as it may be.
func TestQUICHalfHellos(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 3000
	}
	r := newQUICRig(t)
	msg := cryptoHello(host, 400, true)
	for range 300 { // what is made once
		r.port++
		r.send(r.initial(0, msg[:200]))
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	r.wire = nil
	before := heap()
	id := make([]byte, 8)
	for i := range n {
		r.port, r.id = uint16(i), string(binary.BigEndian.AppendUint64(id[:0], uint64(i)))
		r.want(engine.Accept, "quic_part", r.initial(quic.MaxMessage-500, msg[:200]))
		r.wire = r.wire[:0]
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("%d half hellos take %d bytes", n, grown)
	}
	q := &r.p.quic
	if len(q.kept) > maxConns || q.flows.Len() > maxInitials {
		t.Errorf("%d handshakes and %d flows", len(q.kept), q.flows.Len())
	}
	if size := unsafe.Sizeof(kept{}) + quic.MaxMessage + 1024; size*maxConns > 1<<20 {
		t.Errorf("handshakes take up to %d bytes", size*maxConns)
	}
	runtime.KeepAlive(r)
}

func TestQUICAllocs(t *testing.T) {
	r := newQUICRig(t)
	msg := cryptoHello(host, 0, false)
	first := r.packet(r.initial(0, msg))
	r.handle(first)
	greased := r.packet(r.initial(0, msg))
	copy(greased.Bytes[29:], "\x1a\x2a\x3a\x4a")
	tests := []struct {
		name string
		pkt  *engine.Packet
		why  Reason
	}{
		{"short header", r.packet(append([]byte{0x40}, make([]byte, 1200)...)), NotQUIC},
		{"greased version", greased, NotQUIC},
		{"0-rtt", r.packet(r.long(zeroRTT, 1200)), QUICOther},
		{"initial of a known flow", r.packet(r.initial(0, msg)), Again},
	}
	for _, tt := range tests {
		before := r.p.counts[tt.why].Load()
		n := testing.AllocsPerRun(100, func() {
			r.out.Reset()
			r.p.Handle(r.now, tt.pkt, &r.out)
		})
		if n != 0 || r.p.counts[tt.why].Load() == before {
			t.Errorf("%s: %v allocations, %v", tt.name, n, r.p.Counts())
		}
	}
	want := 0.0
	if runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64" {
		want = 2 // there new keys are two objects of crypto/aes
	}
	pkts := r.strangers(2 * maxInitials)
	i := 0
	flow := func() {
		r.out.Reset()
		r.p.Handle(r.now, pkts[i%len(pkts)], &r.out)
		i++
	}
	for range pkts {
		flow()
	}
	if n := testing.AllocsPerRun(len(pkts), flow); n > want {
		t.Errorf("initial of a new flow: %v allocations, want %v", n, want)
	}
}

// strangers are the first datagrams of n connections.
func (r *quicRig) strangers(n int) (pkts []*engine.Packet) {
	msg := cryptoHello(host, 0, false)
	for i := range n {
		r.port, r.id = uint16(10000+i), string(binary.BigEndian.AppendUint64(nil, uint64(i)))
		pkts = append(pkts, r.packet(r.initial(0, msg)))
	}
	return pkts
}

// FuzzDatagram sends what a client might, and what it would not: raw, and
// Initial packets with the bytes that script says, a length and an offset in
// three bytes each. The server gets what the client sent.
func FuzzDatagram(f *testing.F) {
	strategies := []string{"fake(ttl=3)", "fake(clone, ttl=3) dup(2)", "split(midsld) disorder", "pad(1250)", "udplen(10)"}
	r := newQUICRig(f)
	whole := r.initial(0, cryptoHello(host, 0, false))
	f.Add([]byte(nil), []byte{0xff, 0, 0, 0xff, 0x80, 3, 0xff, 0, 0}, uint8(0))
	f.Add(whole, []byte{100, 0, 200, 255, 0, 0}, uint8(2))
	f.Add(slices.Concat(whole, r.long(zeroRTT, 200)), []byte{0, 0, 0}, uint8(4))
	f.Add(r.long(handshake, 60), []byte{255, 0, 0, 255, 0, 255}, uint8(9))
	f.Add(r.packet(whole).Bytes, []byte{}, uint8(129))
	f.Fuzz(func(t *testing.T, raw, script []byte, how uint8) {
		r := newQUICRig(t, forQUIC(t, host, Desync, strategies[int(how&15)%len(strategies)]))
		r.v6 = how&16 != 0
		if how&128 != 0 { // not even a datagram
			r.handle(&engine.Packet{Bytes: raw, Full: len(raw), Meta: engine.Meta{Mark: 7, Out: 3}})
			return
		}
		var sent [][]byte
		send := func(b []byte) {
			pkt := r.packet(b)
			sent = append(sent, pkt.Bytes)
			if v, why := r.handle(pkt); v.Act() == engine.Drop {
				t.Fatalf("dropped because %s", why)
			}
		}
		msg := cryptoHello(host, 1700, how&32 != 0)
		if how&64 != 0 {
			send(raw)
		}
		for ; len(script) >= 3; script = script[3:] {
			off := (int(script[1])<<8 | int(script[2])) % len(msg)
			send(r.initial(off, msg[off:min(off+4*int(script[0]), len(msg))]))
		}
		send(raw)
		if want, got := r.message(sent), r.message(r.wire); string(want) != string(got) {
			t.Errorf("the server has %d bytes, the client sent %d", len(got), len(want))
		}
	})
}

// message is what a server has read of the client's handshake.
func (r *quicRig) message(packets [][]byte) []byte {
	var d quic.Decoder
	var c quic.Conn
	var v packet.View
	for _, b := range packets {
		if v.Decode(b) && v.TTL == 63 && string(quic.Parse(v.Payload).DCID) == r.id {
			d.Datagram(&c, v.Payload)
		}
	}
	return c.Message()
}

func BenchmarkQUIC(b *testing.B) {
	for _, tt := range []struct{ name, steps string }{
		{"untreated", ""}, {"fake", "fake(ttl=3)"}, {"clone", "fake(clone, ttl=3)"}, {"split", "split(midsld) disorder"}, {"pad", "pad(1250)"}, {"ipfrag", "ipfrag(8)"},
	} {
		b.Run("new/"+tt.name, func(b *testing.B) {
			r := newQUICRig(b, forQUIC(b, host, Desync, tt.steps))
			benchmarkQUIC(b, r, r.strangers(2*maxInitials))
		})
	}
	r := newQUICRig(b)
	pkts := r.strangers(1)
	for name, payload := range map[string][]byte{
		"again": pkts[0].Bytes[28:], "0-rtt": r.long(zeroRTT, 1200), "short": append([]byte{0x40}, make([]byte, 1200)...),
	} {
		b.Run(name, func(b *testing.B) { benchmarkQUIC(b, r, []*engine.Packet{r.packet(payload)}) })
	}
}

func benchmarkQUIC(b *testing.B, r *quicRig, pkts []*engine.Packet) {
	b.ReportAllocs()
	for i := range b.N {
		r.out.Reset()
		r.p.Handle(r.now, pkts[i%len(pkts)], &r.out)
	}
}
