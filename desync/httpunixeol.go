package desync

import "b4/http1"

// unixeol ends the lines of the head in LF alone, and makes spaces ahead of a
// field's value of what that frees. Servers may take it (RFC 9112 section 2.2):
// nginx and Go's net/http (Caddy) do, Apache and IIS answer with 400.
var unixeolSpec = spec{
	name: "unixeol", in: inHTTP, phase: messagePhase, once: true,
	help: "end lines in LF alone; nginx and servers in Go take it, Apache and IIS answer with 400",
	make: rewriter("unixeol", endInLF),
}

func endInLF(p *Plan, e *Env) error {
	if err := e.movable(); err != nil {
		return err
	}
	r := &e.Msg.Request
	if room(e.Msg.Bytes, r) == 0 {
		return errField
	}
	head := p.rewrite(e)[:r.Len]
	n := 0
	for i, c := range head {
		if c != '\r' || head[i+1] != '\n' || i > 0 && head[i-1] == '\r' {
			head[n] = c
			n++
		}
	}
	short, _ := http1.Parse(head[:n])
	fillSpaces(move(head, n, room(head, &short), len(head)-n))
	e.reread()
	return nil
}
