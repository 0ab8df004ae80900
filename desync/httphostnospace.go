package desync

// hostnospace leaves no space behind the colon of the Host field, and gives it
// to another field. White space there is optional (RFC 9112 section 5.1).
var hostnospaceSpec = spec{
	name: "hostnospace", in: inHTTP, phase: messagePhase, once: true,
	help: "leave no space behind the colon of the Host field",
	make: rewriter("hostnospace", closeHost),
}

func closeHost(p *Plan, e *Env) error {
	r := &e.Msg.Request
	from := r.FieldEnd + 1
	if err := e.movable(); err != nil || r.HostEnd == 0 || r.Host == from {
		return err
	}
	to := room(e.Msg.Bytes, r) // at the least behind the host
	fillSpaces(move(p.rewrite(e), from, to, r.Host-from))
	e.reread()
	return nil
}
