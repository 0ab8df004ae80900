package desync

import (
	"b4/quic"
	"b4/tlshello"
)

// quicFake sends decoy datagrams, by default an Initial packet of another
// connection that says another name.
//
// They need no fooling. A server that reads such an Initial answers the source
// connection id in it, which the client does not know and discards (RFC 9000
// section 5.2). It closes at once, as the hello's transport parameters tell another
// id (section 7.3). What is no QUIC packet it discards.
type quicFake struct {
	payload string // quic, clone, zero, random or file
	sni     string // the decoy's name; empty for a clone is a name of the same length
	path    string // of a file
	file    []byte // its contents
	decoy
}

// quicPayloads are the words for what a decoy is made of.
var quicPayloads = []string{"quic", "clone", "zero", "random"}

// quicFools are the foolings that a datagram has a place for.
const quicFools = BadSum | HopByHop | DestOpt

func parseQUICFake(p *parser, args []arg) Step {
	f := &quicFake{decoy: decoy{repeat: 1}}
	sniAt := 0
	for _, a := range args {
		switch {
		case a.key == "" && index(quicPayloads, a.val) >= 0:
			f.choose(p, a, a.val)
		case a.key == "file":
			f.choose(p, a, "file")
			f.path, f.file = a.val, p.contents(a)
		case a.key == "sni":
			f.sni, sniAt = p.hostName(a), a.pos
		default:
			f.take(p, a, "fake", "quic, clone, zero, random, file=, sni=, ", quicFools, placeNames[:each])
		}
	}
	if f.payload == "" {
		f.payload = "quic"
	}
	switch named := f.payload == "quic"; {
	case f.sni == "" && named:
		f.sni = defaultSNI
	case f.sni != "" && !named && f.payload != "clone":
		p.fail(sniAt, "%s says no name", f.payload)
	}
	return f
}

// choose notes what argument a makes the payload.
func (f *quicFake) choose(p *parser, a arg, payload string) {
	if f.payload != "" && f.payload != payload {
		p.fail(a.pos, "fake has one payload, %s or %s", f.payload, payload)
	}
	f.payload = payload
}

func (f *quicFake) Need() Need { return Need{} }
func (f *quicFake) Harm() Harm { return Decoys }

func (f *quicFake) String() string {
	var w []string
	switch f.payload {
	case "quic":
	case "file":
		w = append(w, "file="+f.path)
	default:
		w = append(w, f.payload)
	}
	if f.sni != "" {
		w = append(w, "sni="+f.sni)
	}
	return f.text("fake", w)
}

func (f *quicFake) Apply(p *Plan, e *Env) error {
	start := len(p.arena)
	switch f.payload {
	case "file":
		return f.post(p, e, f.file)
	case "zero":
		p.arena = appendZero(p.arena, len(e.Msg.Bytes))
		return f.post(p, e, p.made(start))
	case "random":
		p.arena = appendRandom(p.arena, len(e.Msg.Bytes), e.Rand)
		p.arena[start] &^= 0xc0 // not the form of QUIC: a server might answer with its versions
		return f.post(p, e, p.made(start))
	case "clone":
		if record := f.renamed(p, e); record != nil {
			return f.clone(p, e, record[tlsRecord:])
		}
	}
	name := f.sni
	if name == "" {
		name = defaultSNI
	}
	out, err := p.dgram.sealer.AppendDecoy(p.arena, version(e), name, e.Rand)
	if err != nil {
		return err
	}
	p.arena = out
	return f.post(p, e, p.made(start))
}

// post adds a decoy datagram, also one that nothing keeps the server from.
func (f *quicFake) post(p *Plan, e *Env, data []byte) error {
	s := Seg{Decoy: true, Len: len(data), Data: data}
	if err := f.send(p, e, s); err != errUnfooled {
		return err
	}
	p.add(&s, f.place, f.repeat)
	return nil
}

// tlsRecord is the length of a TLS record header, which QUIC does without.
const tlsRecord = 5

// renamed makes a copy of the client's hello, in one TLS record, that says another
// name. It returns nil where the hello is not whole or says none.
func (f *quicFake) renamed(p *Plan, e *Env) []byte {
	at := e.Msg.Hello
	if !at.Named() || at.Len <= at.Handshake || at.Len > len(e.Msg.Crypto) {
		return nil
	}
	start, n := len(p.arena), at.Len-at.Handshake
	p.arena = append(p.arena, 22, 3, 1, byte(n>>8), byte(n))
	p.arena = append(p.arena, e.Msg.Crypto[at.Handshake:at.Len]...)
	record := p.made(start)
	h, _ := tlshello.Parse(record)
	name := f.sni
	var same [253]byte
	if name == "" {
		name = string(sameLength(same[:0], &Env{Msg: Message{Bytes: record}, Rand: e.Rand}, h))
	}
	start = len(p.arena)
	out, ok := tlshello.AppendRenamed(p.arena, record, h, name)
	if !ok {
		return nil
	}
	p.arena = out
	return p.made(start)
}

// clonePart is how much of a hello a datagram of 1200 bytes holds beside headers,
// ids of eight bytes and the tag.
const clonePart = 1100

// clone posts hello in as many datagrams as it takes, the first byte's first.
func (f *quicFake) clone(p *Plan, e *Env, hello []byte) error {
	at := len(p.arena)
	p.arena = appendRandom(p.arena, 16, e.Rand)
	ids := p.made(at)
	parts := (len(hello) + clonePart - 1) / clonePart
	for i := range parts {
		n := i
		if f.place == before { // each is put ahead of those before it
			n = parts - 1 - i
		}
		start := len(p.arena)
		out, err := p.dgram.sealer.Append(p.arena, &quic.Packet{
			Version: version(e), DCID: ids[:8], SCID: ids[8:], Number: uint32(n),
			Offset: n * clonePart, Crypto: hello[n*clonePart : min((n+1)*clonePart, len(hello))],
		}, quic.MinDatagram)
		if err != nil {
			return err
		}
		p.arena = out
		if err := f.post(p, e, p.made(start)); err != nil {
			return err
		}
	}
	return nil
}

// version is that of the client's datagram.
func version(e *Env) quic.Version { return quic.Parse(e.Msg.Bytes).Version }

// contents reads the file that argument a names, to be sent as a datagram.
func (p *parser) contents(a arg) []byte {
	if p.read == nil {
		p.fail(a.pos, "no file may be named here")
		return nil
	}
	b, err := p.read(a.val)
	switch {
	case err != nil:
		p.fail(a.pos, "read %s: %v", a.val, err)
	case len(b) == 0 || len(b) > maxPad:
		p.fail(a.pos, "%s has %d bytes, want 1 to %d for a datagram", a.val, len(b), maxPad)
	}
	return b
}
