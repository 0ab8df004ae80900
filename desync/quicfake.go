package desync

import (
	"errors"
	"math/rand/v2"

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
//
// The made ones are sealed when the strategy is read: that costs more than all
// else of a plan. Their connection ids are random, so that they mark no one but
// this strategy of this process.
type quicFake struct {
	payload
	decoy
	seed uint64
	made [len(quicVersions)][]byte // one of each version, where the payload is a hello
}

// quicVersions are the versions a client's Initial packet opens in.
var quicVersions = [...]quic.Version{quic.V1, quic.V2, quic.Draft29}

var errNoDecoy = errors.New("no decoy is made for this version of quic")

// quicPayloads are the words for what a decoy is made of.
var quicPayloads = []string{"quic", "clone", "zero", "random"}

// quicFools are the foolings that a datagram has a place for.
const quicFools = BadSum | HopByHop | DestOpt

var quicFakeSpec = spec{
	name: "fake", in: inQUIC, phase: messagePhase,
	help:   "send a decoy datagram, which the server discards or answers to nobody",
	params: append(payloadParams("quic", quicPayloads), decoyParams(quicFools, placeNames[:each])...),
	make: func(p *parser, a *args) Step {
		f := &quicFake{payload: makePayload(p, a), decoy: readDecoy(a), seed: rand.Uint64()}
		if len(f.bytes) > maxPad {
			p.fail(a.find("file").pos, "%s has %d bytes, more than the %d of a datagram", f.path, len(f.bytes), maxPad)
		}
		if f.kind == "quic" || f.kind == "clone" {
			f.seal()
		}
		return f
	},
}

// seal makes the decoys that depend on nothing of the client's but the version.
func (f *quicFake) seal() {
	var s quic.Sealer
	for i, v := range quicVersions {
		f.made[i], _ = s.AppendDecoy(nil, v, f.orDefault(), f.seed) // no host name is too long for it
	}
}

func (f *quicFake) Need() Need     { return f.need() }
func (f *quicFake) Harm() Harm     { return Decoys }
func (f *quicFake) String() string { return f.text("fake", f.words("quic")) }

func (f *quicFake) Apply(p *Plan, e *Env) error {
	start := len(p.arena)
	switch f.kind {
	case "file":
		p.arena = append(p.arena, f.bytes...)
	case "zero":
		p.arena = appendZero(p.arena, len(e.Msg.Bytes))
	case "random":
		p.arena = appendShapeless(p.arena, len(e.Msg.Bytes), e.Rand)
	default:
		if record := f.renamed(p, e); record != nil {
			return f.clone(p, e, record[tlsRecord:])
		}
		for i, v := range quicVersions {
			if v == version(e) {
				f.post(p, e, f.made[i])
				return nil
			}
		}
		return errNoDecoy
	}
	f.post(p, e, p.made(start))
	return nil
}

// appendShapeless appends n bytes without the form of QUIC: a server might answer
// a long header with the versions it speaks.
func appendShapeless(dst []byte, n int, seed uint64) []byte {
	at := len(dst)
	dst = appendRandom(dst, n, seed)
	if n > 0 {
		dst[at] &^= 0xc0
	}
	return dst
}

// post adds a decoy datagram of as much of data as a packet holds. What it has no
// place for of the foolings is left out: the server may read it.
func (f *quicFake) post(p *Plan, e *Env, data []byte) {
	s := Seg{Decoy: true}
	f.spoil(&s, e)
	s.Len = min(len(data), e.Conn.MTU-e.headerLen(s.Fool))
	s.Data = data[:s.Len]
	p.add(&s, f.place, f.repeat)
}

// tlsRecord is the length of a TLS record header, which QUIC does without.
const tlsRecord = 5

// renamed makes a clone: the client's hello, in one TLS record, with another name.
// It returns nil where no clone is wanted, or the hello is not whole or says no name.
func (f *quicFake) renamed(p *Plan, e *Env) []byte {
	at := e.Msg.Hello
	if f.kind != "clone" || !at.Named() || at.Len <= at.Handshake {
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
		name = string(sameLength(same[:0], &Env{Msg: Message{Bytes: record, Hello: h}, Rand: e.Rand}))
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
	p.arena = appendRandom(p.arena, 16, f.seed) // for which the sealer has the keys
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
		f.post(p, e, p.made(start))
	}
	return nil
}

// version is that of the client's datagram.
func version(e *Env) quic.Version { return quic.Parse(e.Msg.Bytes).Version }
