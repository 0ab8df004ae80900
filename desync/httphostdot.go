package desync

import "b4/http1"

// hostdot ends the name in the Host field in a dot, which makes it absolute (RFC
// 1034 section 3.1). nginx and Apache take it for the same site; what runs on
// Go's net/http (Caddy) or looks at Host itself may not. An address has no dot.
var hostdotSpec = spec{
	name: "hostdot", in: inHTTP, phase: messagePhase, once: true,
	help: "end the name in the Host field in a dot; nginx and Apache take it, servers in Go may not",
	make: rewriter("hostdot", addDot),
}

func addDot(p *Plan, e *Env) error {
	r := &e.Msg.Request
	if err := e.movable(); err != nil || !dotless(e.Msg.Bytes, r) {
		return err
	}
	return p.insert(e, r.HostEnd, '.')
}

// dotless reports whether the Host field has a name that does not end in a dot.
func dotless(b []byte, r *http1.Request) bool {
	if r.HostEnd == 0 {
		return false
	}
	last := b[r.HostEnd-1] // a digit or a bracket ends an address; top-level domains end in letters
	return last != '.' && last != ']' && (last < '0' || last > '9')
}
