package tun

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Offloads are what the kernel leaves undone for a device's reader, the bits of
// TUNSETOFFLOAD (linux/if_tun.h).
type Offloads uint32

const (
	Checksums Offloads = 1 << 0      // TUN_F_CSUM
	TCP4      Offloads = 1 << 1      // TUN_F_TSO4
	TCP6      Offloads = 1 << 2      // TUN_F_TSO6
	ECN       Offloads = 1 << 3      // TUN_F_TSO_ECN: superpackets with CWR too
	UDP       Offloads = 1<<5 | 1<<6 // TUN_F_USO4 and USO6, since Linux 6.2 and only together
)

// offloadSteps is what to ask for, most first: a set with one bit that the
// kernel does not know is refused whole.
var offloadSteps = []Offloads{
	Checksums | TCP4 | TCP6 | ECN | UDP,
	Checksums | TCP4 | TCP6 | ECN,
	Checksums | TCP4 | TCP6,
	Checksums | TCP4,
	Checksums,
}

// String lists the offloads as ethtool calls them.
func (o Offloads) String() string {
	var names []string
	for _, n := range []struct {
		bits Offloads
		name string
	}{{Checksums, "tx"}, {TCP4, "tso4"}, {TCP6, "tso6"}, {ECN, "tso-ecn"}, {UDP, "uso"}} {
		if o&n.bits == n.bits {
			names = append(names, n.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// probe sets the most offloads that set accepts and returns them.
func probe(set func(Offloads) error) (Offloads, error) {
	for _, o := range offloadSteps {
		if err := set(o); err != unix.EINVAL {
			return o, err
		}
	}
	return 0, set(0)
}
