package desync

// methodeol puts an empty line ahead of the request, for a censor that looks for
// a method in the first byte. Servers should skip it (RFC 9112 section 2.2): nginx
// and Apache do, Go's net/http (Caddy) answers with 400.
type methodeol struct{}

var methodeolSpec = spec{
	name: "methodeol", in: inHTTP, phase: messagePhase, once: true,
	help: "put an empty line ahead of the request; nginx and Apache skip it, servers in Go answer with 400",
	make: func(*parser, *args) Step { return methodeol{} },
}

func (methodeol) Need() Need     { return Need{} }
func (methodeol) Harm() Harm     { return Segments }
func (methodeol) String() string { return "methodeol" }

func (methodeol) Apply(p *Plan, e *Env) error {
	if err := e.movable(); err != nil {
		return err
	}
	if err := p.insert(e, 0, '\n'); err != nil {
		return err
	}
	return p.insert(e, 0, '\r')
}
