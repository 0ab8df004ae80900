package lab

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"

	"b4/engine"
	"b4/fw"
	"b4/inject"
	"b4/mark"
	"b4/nfq"
	"b4/packet"
	"b4/route"
	"b4/tun"
)

// Yardsticks are what b4 is measured against. Each is for a process that Host.Start
// has started in the router, calls ready when it serves, and returns only if it fails:
// what it has made ends with the process and its namespace.
var Yardsticks = map[string]func(ready func()) error{
	"rules": serveRules,
	"floor": serveFloor,
	"naive": serveNaive,
}

// The numbers that b4 has by default.
const (
	YardstickQueue = 537
	yardstickTUN   = "b4tun0"
)

// YardstickMark is the mark that keeps packets out of the rules: b4's own on what it
// sends.
func YardstickMark() uint32 { return yardstickMarks().Injected }

func yardstickMarks() mark.Set {
	m, err := mark.New(mark.Base)
	if err != nil {
		panic(err) // it is the default
	}
	return m
}

// rewatch is well below the time after which the rules forget a device that nobody
// answers for.
const rewatch = 300 * time.Millisecond

// hold puts b4's rules in force, as its default configuration makes them but for what
// change does, and keeps them there.
func hold(change func(*fw.Config)) error {
	f, err := fw.Probe()
	if err != nil {
		return err
	}
	c := fw.Config{
		Marks: yardstickMarks(), Queue: YardstickQueue, Form: f.Queue, TCP: []uint16{443}, IPv4: true, IPv6: true,
		Router: true, Bound: fw.DefaultBound, SkipIPsec: f.IPsec,
	}
	change(&c)
	rules, err := fw.Plan(c)
	if err != nil {
		return err
	}
	table, err := fw.Open()
	if err != nil {
		return err
	}
	watched := []string{RouterWAN}
	if err := table.Apply(rules, watched); err != nil {
		return err
	}
	go func() {
		for {
			time.Sleep(rewatch)
			if err := table.Watch(watched); err != nil {
				panic(err) // nobody else is here
			}
		}
	}()
	return nil
}

// serveRules has the rules lead to a queue that another process serves.
func serveRules(ready func()) error {
	if err := hold(func(*fw.Config) {}); err != nil {
		return err
	}
	ready()
	select {}
}

// serveFloor is the least that has to be done about a hello: with b4's rules and its
// way of talking to the kernel, but without its judgement. What it costs is the
// kernel's price and that of Go's runtime.
func serveFloor(ready func()) error {
	marks := yardstickMarks()
	send, err := inject.Open(marks)
	if err != nil {
		return err
	}
	e := nfq.New(nfq.Config{Num: YardstickQueue, Len: 1024, Done: marks.Done, Send: send})
	if err := e.Start(); err != nil {
		return err
	}
	if err := hold(func(*fw.Config) {}); err != nil {
		return err
	}
	ready()
	return e.Run(&splitter{})
}

// A splitter cuts each long packet at a fixed place, the second half first, and lets
// all others go. It remembers nothing and reads no more of a packet than where its
// payload begins.
type splitter struct{}

const (
	splitLongest = 200 // bytes; a packet that is longer is cut
	splitAt      = 100 // bytes of its payload
)

// Handle implements engine.Handler.
func (*splitter) Handle(_ time.Time, p *engine.Packet, out *engine.Batch) engine.Verdict {
	b := p.Bytes
	if len(b) <= splitLongest || b[0]>>4 != 4 {
		return engine.Accept | engine.Done
	}
	ip := int(b[0]&15) * 4
	head := ip + int(b[ip+12]>>4)*4
	cut := head + splitAt
	if cut >= len(b) {
		return engine.Accept | engine.Done
	}
	tail := out.Grow(len(b)-splitAt, p.Meta)
	copy(tail[copy(tail, b[:head]):], b[cut:])
	binary.BigEndian.PutUint32(tail[ip+4:], binary.BigEndian.Uint32(b[ip+4:])+splitAt)
	packet.Finish(tail, ip, packet.TCP)
	front := out.Grow(cut, p.Meta)
	copy(front, b)
	packet.Finish(front, ip, packet.TCP)
	return engine.Replace
}

// Tick implements engine.Handler.
func (*splitter) Tick(time.Time, *engine.Batch) time.Duration { return time.Minute }

// Drain implements engine.Handler.
func (*splitter) Drain(*engine.Batch) {}

// serveNaive carries all traffic through a TUN as the first program that comes to mind
// does: it reads a packet and writes it back. The kernel cuts superpackets for it. The
// rules and routes are those of b4's engine tun with all traffic.
func serveNaive(ready func()) error {
	dev, err := tun.Open(tun.DeviceConfig{Name: yardstickTUN, Queue: tunQueue, MTU: 1500, Plain: true})
	if err != nil {
		return err
	}
	route.OwnSysctls(yardstickTUN, true)
	if err := leadTo(yardstickTUN); err != nil {
		return err
	}
	err = hold(func(c *fw.Config) {
		c.Form, c.All = fw.Tun, true
		c.Tun = fw.TunConfig{Device: yardstickTUN, WAN: RouterWAN, SNAT4: WANAddr4}
	})
	if err != nil {
		return err
	}
	ready()
	buf := make([]byte, math.MaxUint16)
	file := tunFile{dev}
	for {
		n, err := file.Read(buf)
		if err != nil {
			return err
		}
		if _, err := file.Write(buf[:n]); err != nil {
			return fmt.Errorf("write a packet of %d bytes back: %w", n, err)
		}
	}
}

// leadTo routes what is marked to a device.
func leadTo(dev string) error {
	c, err := route.Open(nil)
	if err != nil {
		return err
	}
	links, err := c.Links()
	if err != nil {
		return err
	}
	state, err := route.Plan(route.Config{
		Marks: yardstickMarks(), Table: route.DefaultTable, Device: dev, IPv4: true, IPv6: true,
		V4: netip.MustParsePrefix("10.255.0.1/32"), V6: netip.MustParsePrefix("fd62:3400::1/128"),
	}, links)
	if err != nil {
		return err
	}
	return c.Reconcile(state)
}
