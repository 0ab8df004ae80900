package desync

import (
	"encoding/binary"
	"math/rand"
	"testing"

	"b4/engine"
	"b4/packet"
	"b4/quic"
)

// scrambled is a client's datagram with a hello of random size, in frames that the
// client may have cut and turned, on the way to a server at any distance.
func scrambled(t testing.TB, r *rand.Rand) *Env {
	size := quic.MinDatagram + r.Intn(260)
	e := quicEnv(t, r.Intn(2) == 0, 200+r.Intn(900), size)
	if r.Intn(2) == 0 {
		l := quic.Layout{Cuts: []int{1 + r.Intn(200), 1 + r.Intn(200)}, Reverse: r.Intn(2) == 0, Ahead: r.Intn(3) == 0, Max: size}
		if b, ok := new(quic.Sealer).AppendReseal(nil, nil, e.Msg.Bytes, &l); ok {
			e = decoded(t, b, r.Intn(2) == 0)
		}
	}
	if e.Conn.MTU = 1500; r.Intn(3) == 0 {
		e.Conn.MTU = max(1280, len(e.Conn.Header)+len(e.Msg.Bytes))
	}
	e.Conn.Hops = uint8(r.Intn(30))
	e.Rand = r.Uint64()
	return e
}

// Whatever the language can say of QUIC, the server reads what the client wrote.
func TestQUICAnyStrategy(t *testing.T) {
	r := rand.New(rand.NewSource(6))
	ran, want := 0, short(500, 100)
	for ran < want {
		if s, err := QUIC.ParseWith(compose(r, QUIC), noFile); err == nil {
			checkQUIC(t, s, scrambled(t, r))
			ran++
		}
	}
}

// Bytes without meaning have the form of no packet, to which a server might answer.
func TestShapeless(t *testing.T) {
	for seed := range uint64(200) {
		if k := quic.Parse(appendShapeless(nil, 100, seed)).Kind; k != quic.NotQUIC {
			t.Fatalf("seed %d: %v", seed, k)
		}
	}
}

// A wrong checksum is never zero, which in IPv4 is none.
func TestQUICBadSumIsNotNone(t *testing.T) {
	e := quicEnv(t, false, 400, 1200)
	s := mustParseQUIC(t, "fake(zero, badsum)")
	var p Plan
	if err := s.Plan(&p, e); err != nil {
		t.Fatal(err)
	}
	var out engine.Batch
	for port := range 1 << 16 {
		binary.BigEndian.PutUint16(e.Conn.Header[e.Conn.IPLen:], uint16(port))
		out.Reset()
		p.Emit(&out, engine.Meta{}, e, 0, len(e.Msg.Bytes))
		b := out.At(0).Bytes
		if b[26]|b[27] == 0 || packet.ChecksumOK(b) {
			t.Fatalf("from port %d: checksum %x", port, b[26:28])
		}
	}
}

func FuzzQUIC(f *testing.F) {
	for i, s := range quicStrategies {
		f.Add(s, int64(i))
	}
	f.Fuzz(func(t *testing.T, text string, seed int64) {
		if s, err := QUIC.ParseWith(text, noFile); err == nil {
			checkQUIC(t, s, scrambled(t, rand.New(rand.NewSource(seed))))
		}
	})
}
