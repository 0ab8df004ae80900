package desync

// fake sends a decoy, by default a message like the client's, ahead of it, that
// says another name. Fooling keeps the server from reading it.
type fake struct {
	def string // the payload that goes without saying
	payload
	decoy
}

var (
	fakeTLSSpec  = fakeSpec(inTLS, "hello")
	fakeHTTPSpec = fakeSpec(inHTTP, "http")
)

func fakeSpec(in protos, def string) spec {
	return spec{
		name: "fake", in: in, phase: messagePhase,
		help:   "send a decoy that the server does not read",
		params: append(payloadParams(def, payloadNames), decoyParams(anyFool, placeNames[:])...),
		make: func(p *parser, a *args) Step {
			return &fake{def, makePayload(p, a), makeDecoy(p, a, anyFool)}
		},
	}
}

func (f *fake) Need() Need     { return f.need() }
func (f *fake) Harm() Harm     { return Decoys }
func (f *fake) String() string { return f.text("fake", f.words(f.def)) }

func (f *fake) Apply(p *Plan, e *Env) error {
	start := len(p.arena)
	p.arena = f.append(p.arena, e, len(e.Msg.Bytes))
	data := p.made(start)
	return f.send(p, e, Seg{Len: len(data), Data: data})
}
