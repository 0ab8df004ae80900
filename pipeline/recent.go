package pipeline

import (
	"bytes"
	"math"
	"net/netip"
	"sync"
	"time"

	"b4/desync"
)

const (
	// keptHosts are as many as a person looks through. They take 22 KB.
	keptHosts = 64
	// keptName cuts absurd names: DNS has none longer (RFC 1035 section 2.3.4).
	keptName = 255
)

// A Host is what happened lately to the connections to one host name.
type Host struct {
	Host     string     `json:"host"`     // as the client wrote it: not to be trusted
	Time     time.Time  `json:"time"`     // of the last verdict
	Client   netip.Addr `json:"client"`   // its address as on WAN: behind NAT the router's own
	Proto    string     `json:"proto"`    // tls, http or quic: how it was asked for last
	Rule     string     `json:"rule"`     // "" where none matched
	Strategy string     `json:"strategy"` // canonical text; "" where nothing is done
	Why      string     `json:"why"`      // the last verdict's Reason
	Hellos   uint32     `json:"hellos"`   // ClientHellos judged
	Again    uint32     `json:"again"`    // sent again by the client and treated again
	Answered uint32     `json:"answered"` // connections that went on behind a treated hello
}

// hosts is a fixed arena of the hosts seen last. What is scanned for every hello
// lies together, apart from what is not.
type hosts struct {
	mu      sync.Mutex
	newest  uint64
	hashes  [keptHosts]uint32
	ages    [keptHosts]uint64 // the higher the newer; 0 is free
	entries [keptHosts]entry
}

type entry struct {
	name     [keptName]byte
	n        uint8 // bytes of name
	why      Reason
	client   netip.Addr
	time     time.Time
	proto    desync.Proto
	rule     string
	strategy *desync.Strategy // and not the rule, which would keep a replaced configuration in memory
	hellos   uint32
	again    uint32
	answered uint32
}

// note keeps what was decided about s, whose host is name. It allocates nothing.
func (h *hosts) note(now time.Time, s *subject, name []byte, why Reason) {
	if len(name) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	i, known := h.find(name[:min(len(name), keptName)])
	e := &h.entries[i]
	if why == Finished {
		if known {
			e.answered++
		}
		return
	}
	if !known {
		e.hellos, e.again, e.answered = 0, 0, 0
		e.n = uint8(copy(e.name[:], name))
		h.hashes[i] = hash(e.name[:e.n])
	}
	if why == Again {
		e.again++
	} else {
		e.hellos++
	}
	h.newest++
	h.ages[i] = h.newest
	e.time, e.why, e.client, e.proto, e.rule, e.strategy = now, why, s.flow.Src().Addr(), s.proto, "", s.steps
	if r := s.rule; r != nil {
		e.rule = r.Name
	}
}

// find is where a host is, or else the place of the oldest.
func (h *hosts) find(name []byte) (at int, known bool) {
	want := hash(name)
	for i := range h.hashes {
		if e := &h.entries[i]; h.hashes[i] == want && h.ages[i] != 0 && bytes.Equal(e.name[:e.n], name) {
			return i, true
		}
		if h.ages[i] < h.ages[at] {
			at = i
		}
	}
	return at, false
}

// hash is FNV-1a.
func hash(name []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range name {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// Recent returns the hosts seen last, at most 64 of them, the newest first.
func (p *Pipeline) Recent() []Host {
	h := &p.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Host, 0, keptHosts)
	for last := uint64(math.MaxUint64); ; {
		at, age := 0, uint64(0)
		for i, a := range h.ages {
			if age < a && a < last {
				at, age = i, a
			}
		}
		if age == 0 {
			return list
		}
		list = append(list, h.entries[at].host())
		last = age
	}
}

func (e *entry) host() Host {
	host := Host{
		Host: string(e.name[:e.n]), Time: e.time, Client: e.client, Proto: e.proto.String(), Rule: e.rule, Why: e.why.String(),
		Hellos: e.hellos, Again: e.again, Answered: e.answered,
	}
	if e.strategy != nil {
		host.Strategy = e.strategy.String()
	}
	return host
}
