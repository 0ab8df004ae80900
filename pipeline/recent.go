package pipeline

import (
	"bytes"
	"math"
	"net/netip"
	"sync"
	"time"

	"b4/desync"
	"b4/flow"
)

const (
	// keptHosts are as many as a person looks through. They take 26 KB.
	keptHosts = 64
	// keptName cuts absurd names: DNS has none longer (RFC 1035 section 2.3.4).
	keptName = 255
	// locateTries is how often Locate may find no device before it is not asked for
	// any more. The first time, the kernel may not have noted the connection yet.
	locateTries = 2
)

// A Host is what happened lately to the connections to one host name.
type Host struct {
	Host     string     `json:"host"`     // as the client wrote it: not to be trusted
	Time     time.Time  `json:"time"`     // of the last verdict
	Client   netip.Addr `json:"client"`   // its address as on WAN: behind NAT the router's own
	Device   netip.Addr `json:"device"`   // the client's own, by the last connection of which Locate was told; the zero Addr is ""
	Proto    string     `json:"proto"`    // tls, http or quic: how it was asked for last
	Rule     string     `json:"rule"`     // "" where none matched
	Strategy string     `json:"strategy"` // canonical text; "" where nothing is done
	Why      string     `json:"why"`      // the last verdict's Reason
	Hellos   uint32     `json:"hellos"`   // ClientHellos judged
	Again    uint32     `json:"again"`    // sent again by the client and treated again
	Answered uint32     `json:"answered"` // connections that went on behind a treated hello
	Outcome  string     `json:"outcome"`  // of the last treated message of which there is evidence; "" before
}

// hosts is a fixed arena of the hosts seen last. What is scanned for every hello
// lies together, apart from what is not.
type hosts struct {
	mu      sync.Mutex
	newest  uint64
	hashes  [keptHosts]uint32
	births  [keptHosts]uint32 // what newest was when the host came
	ages    [keptHosts]uint64 // the higher the newer; 0 is free
	entries [keptHosts]entry
}

type entry struct {
	name     [keptName]byte
	n        uint8 // bytes of name
	why      Reason
	outcome  Outcome  // NoEvidence is none
	tries    uint8    // how often the flow's device was looked for
	flow     flow.Key // of the last message
	device   netip.Addr
	time     time.Time
	proto    desync.Proto
	rule     string
	strategy *desync.Strategy // and not the rule, which would keep a replaced configuration in memory
	hellos   uint32
	again    uint32
	answered uint32
}

// A spot is where a host is kept, for as long as no other has taken its place. The
// zero spot is nowhere.
type spot struct {
	birth uint32
	at    uint8
}

// note keeps what was decided about s, whose host is name. It allocates nothing.
func (h *hosts) note(now time.Time, s *subject, name []byte, why Reason) spot {
	if len(name) == 0 {
		return spot{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	i, known := h.find(name[:min(len(name), keptName)])
	e := &h.entries[i]
	if why == Finished {
		if !known {
			return spot{}
		}
		e.answered++
		return spot{h.births[i], uint8(i)}
	}
	h.newest++
	h.ages[i] = h.newest
	if !known {
		e.hellos, e.again, e.answered, e.outcome, e.device = 0, 0, 0, NoEvidence, netip.Addr{}
		e.n = uint8(copy(e.name[:], name))
		h.hashes[i], h.births[i] = hash(e.name[:e.n]), uint32(h.newest)
	}
	if !known || e.flow != *s.flow {
		e.flow, e.tries = *s.flow, 0
	}
	if why == Again {
		e.again++
	} else {
		e.hellos++
	}
	e.time, e.why, e.proto, e.rule, e.strategy = now, why, s.proto, "", s.steps
	if r := s.rule; r != nil {
		e.rule = r.Name
	}
	return spot{h.births[i], uint8(i)}
}

// conclude keeps what became of a message to the host at s.
func (h *hosts) conclude(s spot, o Outcome) {
	h.mu.Lock()
	if s.birth != 0 && h.births[s.at] == s.birth && o != NoEvidence {
		h.entries[s.at].outcome = o
	}
	h.mu.Unlock()
}

// answered counts a connection that went on behind a message to the host at s.
func (h *hosts) answered(s spot) {
	h.mu.Lock()
	if s.birth != 0 && h.births[s.at] == s.birth {
		h.entries[s.at].answered++
	}
	h.mu.Unlock()
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

// Unlocated returns the flows, as on WAN, of the last message to each of those hosts
// for whose device Locate is to be called.
func (p *Pipeline) Unlocated() (list []flow.Key) {
	h := &p.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.entries {
		if e := &h.entries[i]; h.ages[i] != 0 && e.tries < locateTries {
			list = append(list, e.flow)
		}
	}
	return list
}

// Locate tells the address of the device that has opened a flow, as it is in its own
// network; the zero Addr tells that it was looked for in vain.
func (p *Pipeline) Locate(k flow.Key, device netip.Addr) {
	h := &p.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.entries {
		e := &h.entries[i]
		switch {
		case h.ages[i] == 0 || e.flow != k:
		case device.IsValid():
			e.device, e.tries = device, locateTries
		default:
			e.tries++
		}
	}
}

func (e *entry) host() Host {
	host := Host{
		Host: string(e.name[:e.n]), Time: e.time, Client: e.flow.Src().Addr(), Device: e.device, Proto: e.proto.String(), Rule: e.rule,
		Why: e.why.String(), Hellos: e.hellos, Again: e.again, Answered: e.answered,
	}
	if e.outcome != NoEvidence {
		host.Outcome = e.outcome.String()
	}
	if e.strategy != nil {
		host.Strategy = e.strategy.String()
	}
	return host
}
