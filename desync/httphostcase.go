package desync

// hostcase writes the Host field's name as hoSt. To servers the letters of a
// field's name are all one (RFC 9110 section 5.1).
type hostcase struct{}

var hostcaseSpec = spec{
	name: "hostcase", in: inHTTP, phase: messagePhase,
	help: "write the Host field's name as hoSt",
	make: func(*parser, *args) Step { return hostcase{} },
}

func (hostcase) Need() Need     { return Need{} }
func (hostcase) Harm() Harm     { return Segments }
func (hostcase) String() string { return "hostcase" }

func (hostcase) Apply(p *Plan, e *Env) error {
	hostspell("hoSt").spell(p, e)
	return nil
}
