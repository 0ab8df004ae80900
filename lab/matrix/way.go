package matrix

import (
	"encoding/binary"
	"time"

	"b4/censor"
)

// Routers is how many stand between client and server. Decoys with a TTL of
// up to that many never reach the server.
const Routers = 12

// A Judge is what stands on the way: a *censor.Censor or a *censor.Inline.
type Judge interface {
	Judge(now time.Time, pkt []byte, fromClient bool) censor.Verdict
}

// A way is the stretch between a client and a server, with something on it.
type way struct {
	judge  Judge
	before int // routers between the client and judge
	now    time.Time
	client func(pkt []byte) // takes what arrives
	server func(pkt []byte)
}

// send sends a packet from one end to the other, and lets arrive what the judge
// makes of it. What the judge sends late arrives at once: nothing that it sends
// is of less harm for being late.
func (w *way) send(pkt []byte, fromClient bool) {
	pkt = append([]byte(nil), pkt...)
	near, far := w.before, Routers-w.before
	if !fromClient {
		near, far = far, near
	}
	if !age(pkt, near) {
		return
	}
	v := w.judge.Judge(w.now, pkt, fromClient)
	if v.Rewritten != nil {
		pkt = v.Rewritten
	}
	if v.Forward && age(pkt, far) {
		w.arrive(pkt, !fromClient)
	}
	for _, in := range v.Inject {
		if in.ToClient {
			far = w.before
		} else {
			far = Routers - w.before
		}
		if age(in.Bytes, far) {
			w.arrive(in.Bytes, in.ToClient)
		}
	}
}

func (w *way) arrive(pkt []byte, atClient bool) {
	if atClient {
		w.client(pkt)
	} else {
		w.server(pkt)
	}
}

// age takes pkt over n routers and reports whether it comes out. They discard what
// asks for that by a hop-by-hop option that they do not know, as Linux does (RFC
// 8200 section 4.2; ip6_parse_tlv in net/ipv6/exthdrs.c).
func age(pkt []byte, n int) bool {
	if pkt[0]>>4 == 6 && pkt[6] == 0 && discards(pkt, 48+int(pkt[41])*8) {
		return false
	}
	ttl := &pkt[8]
	if pkt[0]>>4 == 6 {
		ttl = &pkt[7]
	}
	if int(*ttl) <= n {
		return false
	}
	*ttl -= uint8(n)
	if pkt[0]>>4 == 4 { // RFC 1624
		sum := uint32(binary.BigEndian.Uint16(pkt[10:])) + uint32(n)<<8
		binary.BigEndian.PutUint16(pkt[10:], uint16(sum+sum>>16))
	}
	return true
}
