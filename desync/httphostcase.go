package desync

// hostcase is hostspell(hoSt).
var hostcaseSpec = spec{
	name: "hostcase", in: inHTTP, phase: messagePhase,
	help: "write the Host field's name as hoSt",
	make: rewriter("hostcase", hoSt),
}

func hoSt(p *Plan, e *Env) error { return spell(p, e, "hoSt") }
