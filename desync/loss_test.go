package desync

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"

	"b4/engine"
	"b4/http1"
	"b4/packet"
	"b4/tlshello"
)

// A lossy is a client's way to a server on which packets are lost and overtake
// each other, and the client that sends again what it thinks is lost.
type lossy struct {
	*rand.Rand
	plan Plan
	out  engine.Batch
	late [][]byte // packets on their way
}

// send carries bytes [from, to) of e's message by s; what s refuses goes as it came.
func (l *lossy) send(t *testing.T, s *Strategy, e *Env, from, to int) {
	t.Helper()
	l.out.Reset()
	if err := s.Plan(&l.plan, e); err != nil {
		if err := (&Strategy{proto: s.proto}).Plan(&l.plan, e); err != nil {
			t.Fatal(err)
		}
	}
	l.plan.Emit(&l.out, engine.Meta{}, e, from, to)
	for i := range l.out.Len() {
		l.late = append(l.late, bytes.Clone(l.out.At(i).Bytes))
	}
}

// arrive gives some of what is on its way to r, in any order, and loses others.
func (l *lossy) arrive(r *receiver, share float64) {
	l.Shuffle(len(l.late), func(i, j int) { l.late[i], l.late[j] = l.late[j], l.late[i] })
	n := int(float64(len(l.late)) * share)
	for _, b := range l.late[:n] {
		if l.Intn(3) > 0 {
			r.take(b)
		}
	}
	l.late = l.late[n:]
}

// again is e as it is when the client sends once more: a later timestamp, another
// identification, in packets of another size, the last of them with FIN.
func (l *lossy) again(e *Env) {
	h := e.Conn.Header
	if ts := timestamp(h, e.Conn.IPLen, len(h)); ts != nil {
		binary.BigEndian.PutUint32(ts, binary.BigEndian.Uint32(ts)+uint32(l.Intn(300)))
	}
	if h[0]>>4 == 4 {
		binary.BigEndian.PutUint16(h[4:], uint16(l.Uint32()))
	}
	h[e.Conn.IPLen+13] = packet.ACK | uint8(l.Intn(2))*packet.PSH | uint8(l.Intn(2))*packet.FIN | uint8(l.Intn(2))*packet.ECE
	if h[e.Conn.IPLen+12] == 8<<4 && l.Intn(3) == 0 { // it has got something of the server behind a gap
		h = append(h[:len(h):len(h)], 1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 19)
		h[e.Conn.IPLen+12] = 11 << 4
	} else if len(h) > e.Conn.IPLen+32 {
		h = h[:e.Conn.IPLen+32]
		h[e.Conn.IPLen+12] = 8 << 4
	}
	e.Conn.Header, e.Conn.MTU, e.Conn.Hops = h, []int{576, 1280, 1500}[l.Intn(3)], uint8(l.Intn(2)*(reach-1))
}

// begun is e before the client has said all of its hello.
func (l *lossy) begun(e *Env) *Env {
	part := *e
	part.Msg.Bytes = e.Msg.Bytes[:1+l.Intn(len(e.Msg.Bytes))]
	part.Msg.Hello, _ = tlshello.Parse(part.Msg.Bytes)
	return &part
}

// fooled says that l's server read something else.
func fooled(r *receiver, want []byte) bool {
	return r.next != r.size || r.wasReset || r.ended || r.urgent || r.unaligned || !bytes.Equal(r.stream, want)
}

// Packets are lost, come late and in any order, and the client sends any part of
// its message again, at any time, before all of it is there too: the server reads
// what the client wrote.
func TestLossAndRetransmission(t *testing.T) {
	rounds := 4000
	if testing.Short() {
		rounds = 400
	}
	for _, pr := range []Proto{TLS, HTTP} {
		t.Run(pr.String(), func(t *testing.T) {
			l := &lossy{Rand: rand.New(rand.NewSource(11))}
			for range rounds {
				s, err := pr.ParseWith(compose(l.Rand, pr), readAny)
				if err != nil {
					continue
				}
				e := randomEnv(t, l.Rand, pr)
				want := e.Msg.Bytes
				if pr == HTTP {
					want, _, _ = sent(t, s, e)
				}
				n := len(e.Msg.Bytes)
				l.late = nil
				r := read(e, &engine.Batch{}, nil, l.Intn(2) == 0)
				if pr == TLS && l.Intn(2) == 0 {
					part := l.begun(e)
					l.send(t, s, part, 0, len(part.Msg.Bytes))
				}
				for ; r.next < r.size; l.arrive(r, l.Float64()) {
					if l.again(e); l.Intn(3) > 0 {
						from := l.Intn(n)
						l.send(t, s, e, from, from+1+l.Intn(n-from))
						continue
					}
					l.send(t, s, e, 0, n)
				}
				if l.arrive(r, 1); fooled(r, want) {
					t.Fatalf("%s, v6 %v, %d bytes: the server reads something else: %+v", s, e.Conn.Header[0]>>4 == 6, n, r.next)
				}
			}
		})
	}
}

// Fragments of different packets never have one identification, also when the client
// sends again by the next number of its own.
func TestFragmentsHaveTheirOwnIdentification(t *testing.T) {
	for _, text := range []string{"split(100, 200) ipfrag(48)", "split(100, 200) ipid(rnd) ipfrag(48)", "split(100, 200) ipid(seq) ipfrag(48)", "ipid(zero) dup(2) ipfrag(48)"} {
		for _, v6 := range []bool{false, true} {
			packets, e := make(map[fragID]map[string]bool), env(t, v6, 1800)
			for i := range 3 {
				_, out := wire(t, mustParse(t, text), e, 99*i, len(e.Msg.Bytes))
				for k := range out.Len() {
					id, f, ok := fragmentOf(out.At(k).Bytes)
					if !ok {
						continue
					}
					if packets[id] == nil {
						packets[id] = make(map[string]bool)
					}
					packets[id][fmt.Sprint(f.off, f.data)] = true // of packets that are the same either will do
				}
				if !v6 {
					e.Conn.Header[5]++
				}
			}
			for id, parts := range packets {
				if len(parts) != 2 {
					t.Errorf("%s, v6 %v: %d fragments of %d", text, v6, len(parts), id.id)
				}
			}
		}
	}
}

// A request that grows behind its head is written the same way each time.
func TestHeadStaysAsItWas(t *testing.T) {
	r := rand.New(rand.NewSource(12))
	for range short(2000, 300) {
		s, e := mustHTTP(t, randomHTTP(r)), httpEnv(t, false, randomRequest(r))
		head := *e
		head.Msg.Bytes = e.Msg.Bytes[:e.Msg.Request.Len]
		head.Msg.Request, _ = http1.Parse(head.Msg.Bytes)
		first, _, err := sent(t, s, &head)
		whole, _, errWhole := sent(t, s, e)
		if err != errWhole || err == nil && !bytes.HasPrefix(whole, first) {
			t.Fatalf("%s of %q: %q first, then %q", s, e.Msg.Bytes, first, whole)
		}
	}
}
