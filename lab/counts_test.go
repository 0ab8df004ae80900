package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"b4/tlshello"

	"golang.org/x/sys/unix"
)

// An allowance is what b4d may cost a connection. These are counts, which are the
// same on any machine, with a little air: what takes time shows in `make bench`.
type allowance struct {
	io       float64 // system calls that wait for packets, read them, send, and give verdicts
	calls    float64 // all system calls of all threads; Go's monitor naps some 60 times when b4d has slept
	switches float64 // context switches of all threads
	steered  float64 // packets shown to b4d
	sent     float64 // packets of b4d's own
}

// allowances are those of each engine, by load. Two packets are shown: the hello, and
// the one that shows it was answered. Of sixteen clients one may find the processor
// busy for so long that it sends again.
var allowances = map[string]map[string]allowance{
	"nfqueue": {
		"one by one":         {io: 7.5, calls: 10, switches: 7, steered: 2, sent: 1},
		"sixteen at a time":  {io: 7.5, calls: 10, switches: 7, steered: 2.1, sent: 1.1},
		"in bursts of forty": {io: 0.4, calls: 3, switches: 4, steered: 2, sent: 1},
	},
	"tun": {
		"one by one":         {io: 8.8, calls: 12, switches: 7, steered: 2, sent: 1},
		"sixteen at a time":  {io: 8.8, calls: 12, switches: 7, steered: 2.1, sent: 1.1},
		"in bursts of forty": {io: 3.4, calls: 6, switches: 4, steered: 2, sent: 1},
	},
}

// A load comes in batches, and of each count the least of all is taken, until that is
// little enough: on a machine that has much else to do, clients may come so late that
// b4d sleeps deeper meanwhile, or so late that they send again.
var loads = []struct {
	name          string
	batches, size int // at most so many, of so many connections
	do            func(c *counter, v6 bool, n int) error
}{
	// Each packet is waited for, read and answered by itself.
	{"one by one", 25, 60, func(c *counter, v6 bool, n int) error { return c.load(v6, n, 1) }},
	// How many packets come together depends on the machine.
	{"sixteen at a time", 4, 2000, func(c *counter, v6 bool, n int) error { return c.load(v6, n, 16) }},
	{"in bursts of forty", 12, 120, func(c *counter, v6 bool, n int) error { return c.bursts(v6, n, 40) }},
}

// watchedEvents is what is counted of b4d: all together, what has to do with packets,
// and what must not be at all.
var watchedEvents = slices.Concat([]Event{SystemCalls, ContextSwitches}, ioEvents, forbiddenEvents)

var ioEvents = []Event{
	SystemCall("ppoll", unix.SYS_PPOLL),
	SystemCall("recvmmsg", unix.SYS_RECVMMSG), SystemCall("readv", unix.SYS_READV),
	SystemCall("sendmsg", unix.SYS_SENDMSG), SystemCall("sendmmsg", unix.SYS_SENDMMSG),
	SystemCall("write", unix.SYS_WRITE), SystemCall("writev", unix.SYS_WRITEV),
}

// New threads are not forbidden as such, but those that packets need are there once
// the first have come.
var forbiddenEvents = []Event{
	SystemCall("clone", unix.SYS_CLONE), SystemCall("clone3", unix.SYS_CLONE3),
	SystemCall("execve", unix.SYS_EXECVE), SystemCall("execveat", unix.SYS_EXECVEAT),
}

// A perConn is what b4d did for some connections, a connection.
type perConn struct {
	events []float64 // as watchedEvents
	steered, sent,
	allocations, collections float64
}

// least takes the smaller counts of two, if a has any.
func (a *perConn) least(b perConn) {
	if a.events == nil {
		*a = b
		return
	}
	for i := range a.events {
		a.events[i] = min(a.events[i], b.events[i])
	}
	a.steered, a.sent = min(a.steered, b.steered), min(a.sent, b.sent)
	a.allocations, a.collections = min(a.allocations, b.allocations), min(a.collections, b.collections)
}

// io is the system calls for packets, and forbidden those that must not be.
func (a *perConn) io() float64        { return sum(a.events[2 : 2+len(ioEvents)]) }
func (a *perConn) forbidden() float64 { return sum(a.events[2+len(ioEvents):]) }

func sum(list []float64) (n float64) {
	for _, x := range list {
		n += x
	}
	return n
}

func (a *perConn) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.2f packets steered, %.2f sent, %.3f allocations", a.steered, a.sent, a.allocations)
	for i, n := range a.events {
		if n != 0 {
			fmt.Fprintf(&b, ", %.2f %s", n, watchedEvents[i].Name)
		}
	}
	return b.String()
}

// What b4d does for a connection does not become more.
func TestCounts(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		c := newCounter(t, engine)
		families(t, func(t *testing.T, v6 bool) {
			for i := range loads {
				c.check(t, v6, i, allowances[engine][loads[i].name])
			}
		})
	})
}

// check does a load, and looks at what it cost.
func (c *counter) check(t *testing.T, v6 bool, load int, most allowance) {
	t.Helper()
	l := &loads[load]
	var least perConn
	var err error
	for range l.batches {
		got := c.batch(t, l.size, func() error { return l.do(c, v6, l.size) })
		if got.sent < 1 { // once the watchdog may have thought that b4d stands still
			err = fmt.Errorf("%.3f packets sent a connection: hellos were left as they are", got.sent)
			continue
		}
		least.least(got)
		if err = least.within(most); err == nil {
			break
		}
	}
	t.Logf("%s: %v", l.name, &least)
	if err != nil {
		t.Errorf("%s: %v", l.name, err)
	}
}

// within reports what is more than it may be.
func (a *perConn) within(most allowance) error {
	var errs []error
	limit := func(what string, is, most float64) {
		if is > most {
			errs = append(errs, fmt.Errorf("%.3f %s a connection, want at most %g", is, what, most))
		}
	}
	limit("packets steered", a.steered, most.steered)
	limit("packets sent", a.sent, most.sent)
	limit("system calls for packets", a.io(), most.io)
	limit("system calls", a.events[0], most.calls)
	limit("context switches", a.events[1], most.switches)
	limit("allocations", a.allocations, maxAllocations)
	limit("collections of garbage", a.collections, 0)
	limit("threads and programs started", a.forbidden(), 0)
	return errors.Join(errs...)
}

// maxAllocations is how many allocations a connection may bring about: none, but
// those of a housekeeper who comes twice a second are seen too.
const maxAllocations = 0.1

// A counter is a lab with a b4d that is watched.
type counter struct {
	lab   *Lab
	b4d   *B4D
	trace *Trace
	hello []byte
}

func newCounter(t *testing.T, engine string) *counter {
	l := build(t, Options{Direct: true})
	for _, v6 := range []bool{false, true} {
		serveExchanges(t, l, v6)
	}
	d := launchB4D(t, l, configure(engine))
	c := &counter{l, d, nil, tlshello.AppendDecoy(nil, Allowed, 1)}
	for _, v6 := range []bool{false, true} { // to warm up
		if err := c.load(v6, 400, 16); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if c.trace, err = NewTrace(d.PID(), watchedEvents...); errors.Is(err, ErrNoTracing) {
		t.Log("only packets and allocations are counted:", err)
		c.trace = &Trace{}
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.trace.Close() })
	return c
}

// batch counts over n connections. What it costs b4d to be asked is left out.
func (c *counter) batch(t *testing.T, n int, load func() error) perConn {
	t.Helper()
	first := mustStatus(t, c.b4d)
	before := mustStatus(t, c.b4d)
	asked := before.Memory.Allocations - first.Memory.Allocations
	from, err1 := c.trace.Counts()
	err2 := load()
	to, err3 := c.trace.Counts()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	after := mustStatus(t, c.b4d)
	each := func(n0, n1 uint64) float64 { return (float64(n1) - float64(n0)) / float64(n) }
	got := perConn{
		events:      make([]float64, len(watchedEvents)),
		steered:     each(before.Engine.Counters.Read, after.Engine.Counters.Read),
		sent:        each(before.Engine.Counters.Sent, after.Engine.Counters.Sent),
		allocations: each(before.Memory.Allocations+asked, after.Memory.Allocations),
		collections: float64(after.Memory.Collections-before.Memory.Collections) / float64(n),
	}
	for i := range from { // none without tracing
		got.events[i] = each(from[i], to[i])
	}
	return got
}

// load does n exchanges by so many clients at a time.
func (c *counter) load(v6 bool, n, clients int) error {
	errs := make([]error, clients)
	var live sync.WaitGroup
	for i := range clients {
		live.Add(1)
		go func() {
			defer live.Done()
			for range n / clients {
				if errs[i] = c.exchange(v6); errs[i] != nil {
					return
				}
			}
		}()
	}
	live.Wait()
	return errors.Join(errs...)
}

// An exchange has the shape of TLS 1.3: a hello, a flight that answers it, a
// request, and an answer. Cryptography would only slow the clients down.
const flightSize, requestSize, answerSize = 1200, 140, 500

// exchangeLimit bounds one.
const exchangeLimit = 20 * time.Second

func (c *counter) exchange(v6 bool) error {
	conn, err := c.connect(v6)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, step := range exchangeSteps {
		if err := errors.Join(step.say(c, conn), step.hear(conn)); err != nil {
			return err
		}
	}
	return nil
}

func (c *counter) connect(v6 bool) (net.Conn, error) {
	deadline := time.Now().Add(exchangeLimit)
	conn, err := c.lab.dial(c.lab.Client, Modern.Addr(v6), deadline)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(deadline)
}

// exchangeSteps are the client's.
var exchangeSteps = []struct {
	say  func(*counter, net.Conn) error
	hear func(net.Conn) error
}{
	{func(c *counter, conn net.Conn) error { _, err := conn.Write(c.hello); return err },
		func(conn net.Conn) error { _, err := io.ReadFull(conn, make([]byte, flightSize)); return err }},
	{func(_ *counter, conn net.Conn) error { _, err := conn.Write(make([]byte, requestSize)); return err },
		func(conn net.Conn) error {
			n, err := io.Copy(io.Discard, conn)
			if err == nil && n != answerSize {
				err = fmt.Errorf("the answer has %d bytes", n)
			}
			return err
		}},
}

// bursts does n exchanges, so many together: what the clients say comes while b4d
// stands still.
func (c *counter) bursts(v6 bool, n, together int) (err error) {
	for ; n > 0 && err == nil; n -= together {
		err = c.burst(v6, together)
	}
	return err
}

// standstill is how long b4d stands still, which is until what was said has come,
// and well before anybody sends again.
const standstill = 20 * time.Millisecond

func (c *counter) burst(v6 bool, together int) (err error) {
	conns := make([]net.Conn, together)
	for i := range conns {
		if conns[i], err = c.connect(v6); err != nil {
			return err
		}
		defer conns[i].Close()
	}
	for _, step := range exchangeSteps {
		errs := []error{c.b4d.Signal(syscall.SIGSTOP)}
		for _, conn := range conns {
			errs = append(errs, step.say(c, conn))
		}
		time.Sleep(standstill)
		errs = append(errs, c.b4d.Signal(syscall.SIGCONT))
		for _, conn := range conns {
			errs = append(errs, step.hear(conn))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// serveExchanges serves them at the site Modern until the test ends.
func serveExchanges(t *testing.T, l *Lab, v6 bool) {
	t.Helper()
	var ln net.Listener
	err := l.Server.Do(func() (err error) {
		ln, err = listen(Modern.Addr(v6))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); answerExchange(conn) }() // what fails, fails at the client
		}
	}()
}

func answerExchange(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(exchangeLimit))
	record := make([]byte, 5)
	if _, err := io.ReadFull(conn, record); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint16(record[3:]))); err != nil {
		return err
	}
	if _, err := conn.Write(make([]byte, flightSize)); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, requestSize)); err != nil {
		return err
	}
	_, err := conn.Write(make([]byte, answerSize))
	return err
}
