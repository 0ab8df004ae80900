package lab

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"b4/censor"
	"b4/packet"
)

// A panel gives each connection the judge it was entered for. A connection is
// told by the client's port: the lab gives out no port twice, and NAT keeps it.
type panel struct {
	mu     sync.Mutex
	judges map[uint16]Judge
	parts  map[string]Judge  // of fragmented packets, by what their fragments have in common
	early  map[string][]byte // a fragment that came ahead of its packet's first
}

func (p *panel) enter(port uint16, j Judge) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judges[port] = j
}

// acted reports whether c has begun to act on anything.
func (p *panel) acted(c *censor.Censor) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.Stats().Blocked > 0
}

func (p *panel) Judge(now time.Time, pkt []byte, fromClient bool) censor.Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	j, id := p.judge(pkt, fromClient)
	if j == nil {
		if id != "" {
			p.early[id] = slices.Clone(pkt)
			return censor.Verdict{}
		}
		return censor.Verdict{Forward: true}
	}
	v := j.Judge(now, pkt, fromClient)
	if b := p.early[id]; b != nil && id != "" {
		delete(p.early, id)
		w := j.Judge(now, b, fromClient)
		if w.Rewritten != nil {
			b = w.Rewritten
		}
		if w.Forward {
			v.Inject = append(v.Inject, censor.Injected{Bytes: b, ToClient: !fromClient})
		}
		v.Inject = append(v.Inject, w.Inject...)
	}
	return v
}

// judge is nil where there is none, and with an id where it is not known yet.
func (p *panel) judge(pkt []byte, fromClient bool) (j Judge, id string) {
	proto, ports, id := transport(pkt)
	if proto != packet.TCP && proto != packet.UDP {
		return nil, ""
	}
	if len(ports) < 4 {
		return p.parts[id], id
	}
	if !fromClient {
		ports = ports[2:]
	}
	j = p.judges[binary.BigEndian.Uint16(ports)]
	if id != "" {
		p.parts[id] = j
	}
	if j == nil {
		id = ""
	}
	return j, id
}

// transport finds the ports of a packet and, where it is a fragment, what it has
// in common with the others, of which only the first has ports.
func transport(b []byte) (proto uint8, ports []byte, id string) {
	if b[0]>>4 == 4 {
		n := int(b[0]&15) * 4
		switch field := binary.BigEndian.Uint16(b[6:]); {
		case field&0x1fff != 0:
			return b[9], nil, string(b[4:6]) + string(b[12:20])
		case field&0x2000 != 0:
			id = string(b[4:6]) + string(b[12:20])
		}
		return b[9], b[n:], id
	}
	n, next := 40, b[6]
	for next == 0 || next == 60 {
		n, next = n+8+int(b[n+1])*8, b[n]
	}
	if next != 44 {
		return next, b[n:], ""
	}
	id = string(b[n+4:n+8]) + string(b[8:40])
	if binary.BigEndian.Uint16(b[n+2:])&^7 != 0 {
		return b[n], nil, id
	}
	return b[n], b[n+8:], id
}

// All fragments of a packet have the judge of its first, which has the ports.
func TestPanel(t *testing.T) {
	mine, others := censor.NewProxy(), censor.NewProxy()
	for _, v6 := range []bool{false, true} {
		p := &panel{judges: map[uint16]Judge{40001: mine, 40002: others}, parts: map[string]Judge{}, early: map[string][]byte{}}
		client, server := netip.AddrPortFrom(ClientAddr4, 40001), Modern.Addr(v6)
		if v6 {
			client = netip.AddrPortFrom(ClientAddr6, 40001)
		}
		s := packet.Segment{Src: client, Dst: server, Flags: packet.ACK, TTL: 64, ID: 7, Payload: make([]byte, 64)}
		whole := s.Append(nil)
		s.Src, s.Dst = server, client
		for i, tt := range []struct {
			pkt        []byte
			fromClient bool
			want       Judge
		}{
			{whole, true, mine},
			{s.Append(nil), false, mine},
			{fragmentOf(whole, 24, false), true, nil}, // its first is not known
			{fragmentOf(whole, 0, true), true, mine},
			{fragmentOf(whole, 24, false), true, mine},
		} {
			if got, _ := p.judge(tt.pkt, tt.fromClient); got != tt.want {
				t.Errorf("v6 %v, packet %d: judge %v, want %v", v6, i, got, tt.want)
			}
		}
	}
}

// fragmentOf is what of a packet lies behind offset at of its payload, as a fragment.
func fragmentOf(pkt []byte, at int, more bool) []byte {
	field := uint16(at)
	if pkt[0]>>4 == 4 {
		b := append(slices.Clone(pkt[:20]), pkt[20+at:]...)
		if field /= 8; more {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], field)
		return b
	}
	if more {
		field |= 1
	}
	b := binary.BigEndian.AppendUint16(append(slices.Clone(pkt[:40]), packet.TCP, 0), field)
	b[6] = 44
	return append(append(b, 0, 0, 0, 7), pkt[40+at:]...)
}
