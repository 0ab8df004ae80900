package desync

// methodeol puts an empty line ahead of the request, for a censor that looks for
// a method in the first byte. Servers should skip it (RFC 9112 section 2.2): nginx
// and Apache do, Go's net/http (Caddy) answers with 400.
var methodeolSpec = spec{
	name: "methodeol", in: inHTTP, phase: messagePhase, once: true,
	help: "put an empty line ahead of the request; nginx and Apache skip it, servers in Go answer with 400",
	make: rewriter("methodeol", addLine),
}

func addLine(p *Plan, e *Env) error {
	if err := e.movable(); err != nil {
		return err
	}
	if err := p.insert(e, 0, '\n'); err != nil {
		return err
	}
	return p.insert(e, 0, '\r')
}
