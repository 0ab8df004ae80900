package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"b4/censor"
	"b4/packet"
)

// CheckBlocked reports whether a fresh censor keeps the page from the client:
// nil if it does. That the page did not come for another reason is an error.
func (l *Lab) CheckBlocked(p censor.Profile, r Request) error {
	return l.CheckAllBlocked(p, []Request{r})[0]
}

// CheckAllBlocked is CheckBlocked for several requests at once, each with a
// censor of its own: most of the time it takes is waiting.
func (l *Lab) CheckAllBlocked(p censor.Profile, rs []Request) []error {
	j := &jury{profile: p, seed: l.opts.Seed, seats: map[seat]*censor.Censor{}}
	l.SetJudge(j)
	defer l.SetJudge(nil)
	errs := make([]error, len(rs))
	var live sync.WaitGroup
	for i, r := range rs {
		live.Add(1)
		go func() { defer live.Done(); errs[i] = l.checkBlocked(j, r) }()
	}
	live.Wait()
	return errs
}

func (l *Lab) checkBlocked(j *jury, r Request) error {
	r.Timeout, r.Path = verdictLimit, "/"
	res, err := l.Get(r)
	switch {
	case err == nil:
		return errors.New("the page came: the censor does not block")
	case !j.blocked(r.V6, res.Local):
		return fmt.Errorf("the page did not come, and not for the censor: %w", err)
	}
	return nil
}

// A jury gives each connection a censor that has seen nothing else. A
// connection is told by its family and the client's port: the lab gives out no
// port twice, and NAT keeps it.
type jury struct {
	profile censor.Profile
	seed    uint64
	mu      sync.Mutex
	seats   map[seat]*censor.Censor
}

type seat struct {
	v6   bool
	port uint16
}

func (j *jury) Judge(now time.Time, pkt []byte, fromClient bool) censor.Verdict {
	var v packet.View
	if !v.Decode(pkt) || v.Proto != packet.TCP && v.Proto != packet.UDP {
		return censor.Verdict{Forward: true}
	}
	client := v.Src
	if !fromClient {
		client = v.Dst
	}
	at := seat{client.Addr().Is6(), client.Port()}
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.seats[at]
	if c == nil {
		c = censor.New(j.profile, []string{Blocked, Hard}, j.seed)
		j.seats[at] = c
	}
	return c.Judge(now, pkt, fromClient)
}

// blocked tells whether the connection from a local address was blocked; of a
// program that does not tell its address, whether any of its family was.
func (j *jury) blocked(v6 bool, local netip.AddrPort) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for at, c := range j.seats {
		if at.v6 == v6 && (at.port == local.Port() || local.Port() == 0) && c.Stats().Blocked > 0 {
			return true
		}
	}
	return false
}
