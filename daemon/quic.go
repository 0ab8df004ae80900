package daemon

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A scatter tells in which families the datagrams that open a flow may leave
// from a port each, so that QUIC is to be left alone, see fw.Scatters.
type scatter struct {
	v4, v6 bool
	err    error // why that is not known, and assumed
}

// findScatter asks about the devices, if s wants to be shown QUIC.
func findScatter(k kernel, s *settings, devices []string) (q scatter) {
	if len(s.udp) == 0 {
		return q
	}
	for _, dev := range devices {
		v4, v6, err := k.scatters(dev)
		if err != nil && !errors.Is(err, unix.EPERM) { // check without root asks nobody
			return scatter{true, true, err}
		}
		q.v4, q.v6 = q.v4 || v4, q.v6 || v6
	}
	return q
}

// quicNotes says what of s is not done to QUIC. The sentences lack their points.
func (s *settings) quicNotes(c choice, q scatter) (notes findings) {
	notes.say(q.err != nil, "quic_unread", "QUIC is left alone, as the firewall's rules cannot be read: %v", q.err)
	const scattered = "QUIC over %s is left alone, as masquerading picks source ports at random (random, fully-random) and would scatter its datagrams"
	notes.say(q.v4 && q.err == nil, "quic_scattered", scattered, "IPv4")
	notes.say(q.v6 && q.err == nil && s.conf.Main.IPv6, "quic_scattered", scattered, "IPv6")
	notes.say(s.block.Reject && !c.features.Reject, "quic_dropped", "QUIC is dropped and not rejected, which this kernel cannot (kmod-nft-core)")
	for i := range s.pipe.Rules {
		r := &s.pipe.Rules[i]
		notes.say(c.engine == engineTun && s.spares(r), "quic_unseen", "QUIC of rule %s is let out, as engine %s is not shown it: set engine %s, or reject QUIC in a first rule for all names",
			r.Name, engineTun, engineQueue)
	}
	return notes
}
