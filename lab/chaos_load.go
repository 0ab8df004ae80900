package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/logging"
	"golang.org/x/sys/unix"
)

// A load is a download in each family, which goes on as it is allowed to.
type load struct {
	mu      sync.Mutex
	more    sync.Cond
	allowed int64
	errs    [2]error
	live    sync.WaitGroup
}

// startLoad begins two downloads of size bytes each.
func startLoad(l *Lab, size int64) *load {
	a := &load{}
	a.more.L = &a.mu
	for i, v6 := range []bool{false, true} {
		r := Request{Host: Blocked, V6: v6, Path: fmt.Sprintf("/bytes?n=%d", size), Timeout: 5 * time.Minute, Pace: a.pace}
		a.live.Add(1)
		go func() {
			defer a.live.Done()
			res, err := l.Get(r)
			if err != nil || res.Sum != SumOf(size) {
				a.errs[i] = fmt.Errorf("download under way, v6 %t: %d bytes of %d: %w", v6, res.N, size, errors.Join(err))
			}
		}()
	}
	return a
}

// pace holds a download that is ahead.
func (a *load) pace(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n > a.allowed {
		a.more.Wait()
	}
}

// allow lets each download come to n bytes.
func (a *load) allow(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allowed = max(a.allowed, n)
	a.more.Broadcast()
}

// wait lets both come to their end, and reports how they ended.
func (a *load) wait() error {
	a.allow(1 << 62)
	a.live.Wait()
	return errors.Join(a.errs[:]...)
}

// chaosRequests are the kinds of connections that are opened all the time. Those
// of QUIC are for the engine that sees it.
func chaosRequests(engine string) []Request {
	const upload = 256 << 10
	var list []Request
	for _, v6 := range []bool{false, true} {
		list = append(list,
			Request{V6: v6},
			Request{V6: v6, Hello: PostQuantum},
			Request{V6: v6, Proto: HTTP},
			Request{V6: v6, Hello: PostQuantum, Upload: upload})
		if engine == "nfqueue" {
			list = append(list, Request{V6: v6, Proto: QUIC, Hello: PostQuantum})
		}
	}
	for i := range list {
		list[i].Host, list[i].Path, list[i].Timeout = Blocked, "/bytes?n=8192", 20*time.Second
	}
	return list
}

// A fate is what one connection came to.
type fate struct {
	request  Request
	err      error
	begun    time.Time
	took     time.Duration
	timeouts int   // as the client's own stack counts them, of QUIC those in a row
	flow     *flow // nil with QUIC

	lost, waits int // of flow
}

// A crowd opens connections, one after the other of each kind.
type crowd struct {
	lab   *Lab
	flows *flows
	end   chan struct{}
	live  sync.WaitGroup
	mu    sync.Mutex
	begun []time.Time // of the one that is open, by kind
	fates []fate
}

// pause is the longest time between two connections of a kind.
const pause = 20 * time.Millisecond

// startCrowd begins. What happens in the router is not looked at where seen is nil.
func startCrowd(l *Lab, kinds []Request, seen *flows) *crowd {
	c := &crowd{lab: l, flows: seen, end: make(chan struct{}), begun: make([]time.Time, len(kinds))}
	for i, r := range kinds {
		c.live.Add(1)
		go c.run(i, r)
	}
	return c
}

func (c *crowd) run(i int, r Request) {
	defer c.live.Done()
	for {
		select {
		case <-c.end:
			return
		case <-time.After(rand.N(pause)):
		}
		c.mu.Lock()
		c.begun[i] = time.Now()
		c.mu.Unlock()
		f := c.open(r)
		c.mu.Lock()
		c.begun[i] = time.Time{}
		c.fates = append(c.fates, f)
		c.mu.Unlock()
	}
}

// settled tells whether all connections that were begun before at have ended.
func (c *crowd) settled(at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.ContainsFunc(c.begun, func(t time.Time) bool { return !t.IsZero() && t.Before(at) })
}

func (c *crowd) open(r Request) fate {
	if r.Proto == QUIC {
		return c.openQUIC(r)
	}
	r.Site = Modern
	start := time.Now()
	f := fate{request: r, begun: start}
	conn, err := c.lab.dial(c.lab.Client, r.addr(), start.Add(r.Timeout))
	if err != nil {
		f.err = err
		return f
	}
	defer conn.Close()
	conn.SetDeadline(start.Add(r.Timeout))
	var res Result
	f.err = res.exchange(conn, r)
	f.took = time.Since(start)
	if r.Upload > 0 && f.err == nil && res.Body != SumOf(r.Upload) {
		f.err = errors.New("the server got something else")
	}
	n, err := timeouts(conn)
	f.timeouts, f.err = n, errors.Join(f.err, err)
	if c.flows != nil {
		f.flow = c.flows.of(conn.LocalAddr().(*net.TCPAddr).Port, r.V6)
	}
	return f
}

// timeouts is how often the retransmission timer of a socket has run out, be it
// for a SYN or for data (tcpi_total_rto, Linux 6.7).
func timeouts(conn *net.TCPConn) (n int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) }); e != nil || err != nil {
		return 0, errors.Join(e, err)
	}
	return int(info.Total_rto), nil
}

// openQUIC counts the probe timeouts (RFC 9002 section 6.2) one after the other.
func (c *crowd) openQUIC(r Request) fate {
	var most atomic.Uint32
	start := time.Now()
	r.Site = Modern
	r.tracer = func(context.Context, logging.Perspective, quic.ConnectionID) *logging.ConnectionTracer {
		return &logging.ConnectionTracer{UpdatedPTOCount: func(n uint32) { most.Store(max(most.Load(), n)) }}
	}
	res, err := c.lab.quic(r)
	return fate{request: r, err: err, begun: start, took: res.Took, timeouts: int(most.Load())}
}

func (c *crowd) stop() []fate {
	close(c.end)
	c.live.Wait()
	return c.fates
}
