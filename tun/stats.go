package tun

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// statistics opens a socket that answers for the device's namespace, whichever thread
// asks.
func (o *opener) statistics() (err error) {
	o.d.stats, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	return nil
}

// Dropped is how many packets found the device's queue full, as far as the kernel
// tells (RTM_GETSTATS, Linux 4.7). It allocates nothing, as whoever watches a b4d
// asks every few seconds.
func (d *Device) Dropped() uint64 {
	d.gate.RLock()
	defer d.gate.RUnlock()
	d.asking.Lock()
	defer d.asking.Unlock()
	if !d.closed.Load() {
		d.askDropped()
	}
	return d.full
}

// askDropped asks for nothing but the device's counters. The kernel answers before
// the write returns.
func (d *Device) askDropped() {
	const size = unix.NLMSG_HDRLEN + statsLen
	var ask [size]byte
	order := binary.NativeEndian
	order.PutUint32(ask[0:], size)
	order.PutUint16(ask[4:], unix.RTM_GETSTATS)
	order.PutUint16(ask[6:], unix.NLM_F_REQUEST)
	order.PutUint32(ask[unix.NLMSG_HDRLEN+4:], uint32(d.index))
	order.PutUint32(ask[unix.NLMSG_HDRLEN+8:], 1<<(unix.IFLA_STATS_LINK_64-1))
	if _, err := unix.Write(d.stats, ask[:]); err != nil {
		return
	}
	var answer [512]byte // that has 240
	n, err := unix.Read(d.stats, answer[:])
	if err != nil {
		return
	}
	if dropped, ok := parseDropped(answer[:n]); ok {
		d.full = dropped
	}
}

const (
	statsLen    = 12     // struct if_stats_msg of linux/if_link.h: family, padding, index, filter
	atTxDropped = 7 * 8  // of struct rtnl_link_stats64
	netlinkMask = 0x3fff // an attribute's type without its flags
)

// parseDropped finds what was dropped in the answer.
func parseDropped(m []byte) (uint64, bool) {
	order := binary.NativeEndian
	if len(m) < unix.NLMSG_HDRLEN+statsLen || order.Uint16(m[4:]) != unix.RTM_NEWSTATS {
		return 0, false
	}
	for b := m[unix.NLMSG_HDRLEN+statsLen:]; len(b) >= unix.SizeofNlAttr; {
		n := int(order.Uint16(b))
		if n < unix.SizeofNlAttr || n > len(b) {
			break
		}
		v := b[unix.SizeofNlAttr:n]
		if order.Uint16(b[2:])&netlinkMask == unix.IFLA_STATS_LINK_64 && len(v) >= atTxDropped+8 {
			return order.Uint64(v[atTxDropped:]), true
		}
		b = b[min((n+3)&^3, len(b)):] // ahead of it stands an empty one where 64 bits must be aligned
	}
	return 0, false
}
