package desync

// domcase writes the letters of the host's name large and small in turn, in the
// Host field and in an absolute URI: wWw.ExAmPlE. To servers they are all one
// (RFC 3986 section 3.2.2).
var domcaseSpec = spec{
	name: "domcase", in: inHTTP, phase: messagePhase,
	help: "write the name in small and large letters in turn",
	make: rewriter("domcase", alternateName),
}

func alternateName(p *Plan, e *Env) error {
	r := &e.Msg.Request
	if !r.Named() {
		return nil
	}
	b := p.rewrite(e)
	alternate(b[r.Host:r.HostEnd])
	alternate(b[r.URI:r.URIEnd])
	return nil
}

// alternate makes the letters of b small and large in turn.
func alternate(b []byte) {
	large := false
	for i, c := range b {
		if l := c | 0x20; l >= 'a' && l <= 'z' {
			b[i] = l
			if large {
				b[i] = c &^ 0x20
			}
			large = !large
		}
	}
}
