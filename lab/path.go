package lab

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"b4/censor"
	"b4/packet"
)

// A Direction is the way a packet takes through the path.
type Direction int

const (
	ToServer Direction = iota
	ToClient
)

// An Impairment is what the line does to packets of one direction. The zero
// value does nothing.
type Impairment struct {
	Loss    float64       // probability of each packet to be lost
	Reorder float64       // probability of each packet to be held back by Late
	Late    time.Duration // 0 is 3 ms, some packets at the speed of a lab
	Delay   time.Duration // of every packet
}

const defaultLate = 3 * time.Millisecond

// A Judge is a censor; *censor.Censor is one. The path calls it for one packet
// at a time. It must not keep pkt.
type Judge interface {
	Judge(now time.Time, pkt []byte, fromClient bool) censor.Verdict
}

// A Filter sees each packet as it enters the path and says whether it goes on.
// It must not keep pkt. Both directions call it, one at a time.
type Filter func(d Direction, pkt []byte) (forward bool)

// Counters count the packets of one direction.
type Counters struct {
	Packets, Bytes uint64 // that entered the path
	Filtered       uint64 // discarded by the Filter
	Lost           uint64 // discarded by the Impairment
	Reordered      uint64 // held back by the Impairment
	Censored       uint64 // discarded by the censor
	Injected       uint64 // sent by the censor in this direction
	Expired        uint64 // their TTL ran out at a virtual hop
	TooBig         uint64 // larger than PathMTU
	Echoed         uint64 // echo requests answered by a virtual hop
	Overflowed     uint64 // found the delay queue full
	Failed         uint64 // that the TUN device did not take
}

// counters is Counters, counted.
type counters struct {
	packets, bytes, filtered, lost, reordered, censored, injected, expired, tooBig, echoed, overflowed, failed atomic.Uint64
}

func (c *counters) snapshot() Counters {
	return Counters{c.packets.Load(), c.bytes.Load(), c.filtered.Load(), c.lost.Load(), c.reordered.Load(),
		c.censored.Load(), c.injected.Load(), c.expired.Load(), c.tooBig.Load(), c.echoed.Load(),
		c.overflowed.Load(), c.failed.Load()}
}

// A hop is a virtual router. It has an address in each family.
type hop struct{ v4, v6 netip.Addr }

// path is the stretch of routers between the two TUN devices, with the censor
// between two of them. It has no goroutine and no clock of its own. Each
// direction is for one goroutine at a time; send may be called by both.
type path struct {
	hops   []hop // from the client's side
	before int   // how many of them stand between the client and the censor
	mtu    int   // of the link behind the last hop; 0 is no limit
	send   func(d Direction, pkt []byte) error
	lines  [2]line

	judge  atomic.Pointer[Judge]
	filter atomic.Pointer[Filter]
	mu     sync.Mutex // serialises judge and filter
}

// line is one direction of the path.
type line struct {
	imp   Impairment
	rand  *rand.Rand
	queue queue
	n     counters
}

func newPath(before, after, mtu int, seed uint64, imp [2]Impairment, send func(Direction, []byte) error) *path {
	p := &path{before: before, mtu: mtu, send: send}
	for i := range before + after {
		p.hops = append(p.hops, hop{hopAddr(hopNet4, i), hopAddr(hopNet6, i)})
	}
	for d := range p.lines {
		p.lines[d].imp = imp[d]
		p.lines[d].rand = rand.New(rand.NewPCG(seed, uint64(d)))
		if p.lines[d].imp.Late == 0 {
			p.lines[d].imp.Late = defaultLate
		}
	}
	return p
}

// push takes a packet in. It may write to pkt, and does not keep it.
func (p *path) push(now time.Time, d Direction, pkt []byte) {
	l := &p.lines[d]
	l.n.packets.Add(1)
	l.n.bytes.Add(uint64(len(pkt)))
	if f := p.filter.Load(); f != nil && !p.filtered(*f, d, pkt) {
		l.n.filtered.Add(1)
		return
	}
	late, lost := l.luck()
	if lost && d == ToClient { // lost behind the censor, which never sees it
		l.n.lost.Add(1)
		return
	}
	near, far := 0, len(p.hops)
	if d == ToClient {
		near, far = far, near
	}
	if !p.cross(now, d, pkt, near, p.before) {
		return
	}
	v := p.ask(now, d, pkt)
	if v.Rewritten != nil {
		pkt = v.Rewritten
	}
	if !v.Forward {
		l.n.censored.Add(1)
	} else if p.cross(now, d, pkt, p.before, far) {
		p.leave(now, d, pkt, late, lost)
	}
	for i := range v.Inject {
		p.inject(now, &v.Inject[i])
	}
}

// leave is the end of the path: the line that loses and reorders.
func (p *path) leave(now time.Time, d Direction, pkt []byte, late, lost bool) {
	l := &p.lines[d]
	var wait time.Duration
	switch {
	case lost:
		l.n.lost.Add(1)
		return
	case late:
		l.n.reordered.Add(1)
		wait = l.imp.Late
	}
	p.deliver(now, d, pkt, wait)
}

// luck draws a packet's fate. It draws the same number of values for each, so
// that the n-th packet of a seed always has the same fate.
func (l *line) luck() (late, lost bool) {
	if l.imp.Loss == 0 && l.imp.Reorder == 0 {
		return false, false
	}
	a, b := l.rand.Float64(), l.rand.Float64()
	return b < l.imp.Reorder, a < l.imp.Loss
}

func (p *path) filtered(f Filter, d Direction, pkt []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f(d, pkt)
}

// ask asks the censor, if there is one.
func (p *path) ask(now time.Time, d Direction, pkt []byte) censor.Verdict {
	j := p.judge.Load()
	if j == nil {
		return censor.Verdict{Forward: true}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return (*j).Judge(now, pkt, d == ToServer)
}

// inject sends a packet of the censor's on its way, through the hops it has
// before it and past the impairments.
func (p *path) inject(now time.Time, in *censor.Injected) {
	d, end := ToServer, len(p.hops)
	if in.ToClient {
		d, end = ToClient, 0
	}
	p.lines[d].n.injected.Add(1)
	if p.cross(now, d, in.Bytes, p.before, end) {
		p.deliver(now, d, in.Bytes, in.After)
	}
}

// cross takes pkt over the hops from one place between two to another, and
// reports whether it came out: a hop answers a packet that is for it, that is
// at the end of its TTL, or that is too large for the next link.
func (p *path) cross(now time.Time, d Direction, pkt []byte, from, to int) bool {
	for i := from; i != to; {
		at := i
		if from < to {
			i++
		} else {
			i--
			at = i
		}
		if !p.visit(now, d, pkt, at) {
			return false
		}
	}
	return true
}

func (p *path) visit(now time.Time, d Direction, pkt []byte, at int) bool {
	l, h := &p.lines[d], &p.hops[at]
	ttl, to, ok := ttlAndDestination(pkt)
	switch {
	case !ok || to.IsMulticast(): // the devices' neighbour and group messages
		return false
	case to == h.v4 || to == h.v6:
		if reply := echoReply(pkt); reply != nil {
			l.n.echoed.Add(1)
			p.answer(now, d, reply)
		}
		return false
	case ttl <= 1:
		l.n.expired.Add(1)
		p.complain(now, d, packet.TimeExceeded, h, pkt)
		return false
	case p.mtu > 0 && at == len(p.hops)-1 && len(pkt) > p.mtu:
		l.n.tooBig.Add(1)
		p.complain(now, d, packet.TooBig, h, pkt)
		return false
	}
	age(pkt)
	return true
}

// complain sends an ICMP error about pkt back to where it came from.
func (p *path) complain(now time.Time, d Direction, kind packet.ICMPKind, h *hop, pkt []byte) {
	from := h.v4
	if pkt[0]>>4 == 6 {
		from = h.v6
	}
	if e := packet.ICMPError(nil, kind, from, p.mtu, pkt); len(e) > 0 {
		p.answer(now, d, e)
	}
}

// answer sends what a hop says about a packet of direction d the other way.
func (p *path) answer(now time.Time, d Direction, pkt []byte) {
	p.deliver(now, 1-d, pkt, 0)
}

// deliver gives a packet to the far end of direction d, after the line's delay
// and extra.
func (p *path) deliver(now time.Time, d Direction, pkt []byte, extra time.Duration) {
	l := &p.lines[d]
	wait := l.imp.Delay + extra
	if wait > 0 {
		if !l.queue.push(now.Add(wait), pkt) {
			l.n.overflowed.Add(1)
		}
		return
	}
	p.emit(d, pkt)
}

func (p *path) emit(d Direction, pkt []byte) {
	if err := p.send(d, pkt); err != nil {
		p.lines[d].n.failed.Add(1)
	}
}

// release sends what has fallen due in direction d and tells how long the next
// packet has to wait; less than zero is for ever.
func (p *path) release(now time.Time, d Direction) time.Duration {
	return p.lines[d].queue.release(now, func(pkt []byte) { p.emit(d, pkt) })
}

func ttlAndDestination(pkt []byte) (ttl uint8, to netip.Addr, ok bool) {
	switch {
	case len(pkt) >= 20 && pkt[0]>>4 == 4:
		return pkt[8], netip.AddrFrom4([4]byte(pkt[16:20])), true
	case len(pkt) >= 40 && pkt[0]>>4 == 6:
		return pkt[7], netip.AddrFrom16([16]byte(pkt[24:40])), true
	}
	return 0, netip.Addr{}, false
}

// age takes one off the TTL and, for IPv4, mends the checksum (RFC 1141).
func age(pkt []byte) {
	if pkt[0]>>4 == 6 {
		pkt[7]--
		return
	}
	pkt[8]--
	sum := uint32(binary.BigEndian.Uint16(pkt[10:])) + 0x0100
	binary.BigEndian.PutUint16(pkt[10:], uint16(sum+sum>>16))
}

// echoReply turns an echo request into its reply, in place, and returns it; nil
// if pkt is anything else.
func echoReply(pkt []byte) []byte {
	var v packet.View
	if !v.Decode(pkt) {
		return nil
	}
	src, dst := v.Src.Addr().AsSlice(), v.Dst.Addr().AsSlice()
	switch {
	case v.Proto == packet.ICMP && pkt[v.IPLen] == 8:
		pkt[v.IPLen], pkt[8] = 0, 64
		copy(pkt[12:], dst)
		copy(pkt[16:], src)
	case v.Proto == packet.ICMPv6 && pkt[v.IPLen] == 128:
		pkt[v.IPLen], pkt[7] = 129, 64
		copy(pkt[8:], dst)
		copy(pkt[24:], src)
	default:
		return nil
	}
	packet.Finish(pkt, v.IPLen, v.Proto)
	return pkt
}
