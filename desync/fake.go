package desync

import (
	"strings"

	"b4/tlshello"
)

// fake sends a decoy, by default a ClientHello ahead of the message that says
// another name. Fooling keeps the server from reading it.
type fake struct {
	payload string // hello, clone, http, zero or random
	sni     string // the decoy's name; empty for a clone is a name of the same length
	decoy
}

// defaultSNI is the name a made decoy says: a site that is large, harmless and
// allowed nearly everywhere.
const defaultSNI = "www.w3.org"

// fakePayloads are the words for what a decoy is made of; without one it is a
// ClientHello.
var fakePayloads = []string{"clone", "http", "zero", "random"}

func parseFake(p *parser, args []arg) Step {
	f := &fake{payload: "hello", decoy: decoy{repeat: 1}}
	end, sniAt := p.pos, 0
	for _, a := range args {
		switch {
		case a.key == "" && index(fakePayloads, a.val) >= 0:
			if f.payload != "hello" && f.payload != a.val {
				p.fail(a.pos, "fake has one payload, %s or %s", f.payload, a.val)
			}
			f.payload = a.val
		case a.key == "sni":
			f.sni, sniAt = p.hostName(a), a.pos
		default:
			f.take(p, a, "fake", "clone, http, zero, random, sni=, ", anyFool, placeNames[:])
		}
	}
	f.fooled(p, end, "fake", anyFool)
	switch named := f.payload == "hello" || f.payload == "http"; {
	case f.sni == "" && named:
		f.sni = defaultSNI
	case f.sni != "" && !named && f.payload != "clone":
		p.fail(sniAt, "%s says no name", f.payload)
	}
	return f
}

// hostName reads a DNS name of letters, digits, hyphens and dots.
func (p *parser) hostName(a arg) string {
	ok := len(a.val) <= 253
	for _, c := range []byte(a.val) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.')
	}
	if !ok {
		p.fail(a.pos, "%q is not a host name", a.val)
	}
	return strings.ToLower(a.val)
}

func (f *fake) Need() Need { return Need{} }
func (f *fake) Harm() Harm { return Decoys }

func (f *fake) String() string {
	var w []string
	if f.payload != "hello" {
		w = append(w, f.payload)
	}
	if f.sni != "" {
		w = append(w, "sni="+f.sni)
	}
	return f.text("fake", w)
}

func (f *fake) Apply(p *Plan, e *Env) error {
	start := len(p.arena)
	p.arena = f.data(p.arena, e)
	data := p.made(start)
	return f.send(p, e, Seg{Len: len(data), Data: data})
}

// data appends the decoy's bytes. Those without meaning are as many as the
// message has.
func (f *fake) data(dst []byte, e *Env) []byte {
	switch f.payload {
	case "http":
		dst = append(append(dst, "GET / HTTP/1.1\r\nHost: "...), f.sni...)
		return append(dst, "\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"...)
	case "zero":
		return appendZero(dst, len(e.Msg.Bytes))
	case "random":
		return appendRandom(dst, len(e.Msg.Bytes), e.Rand)
	}
	return f.hello(dst, e)
}

// hello appends a ClientHello, cloned if it can be.
func (f *fake) hello(dst []byte, e *Env) []byte {
	h := e.Msg.Hello
	if f.payload == "clone" && h.Named() {
		name := f.sni
		var same [253]byte
		if name == "" {
			name = string(sameLength(same[:0], e, h))
		}
		if out, ok := tlshello.AppendRenamed(dst, e.Msg.Bytes, h, name); ok {
			return out
		}
	}
	name := f.sni
	if name == "" {
		name = defaultSNI
	}
	return tlshello.AppendDecoy(dst, name, e.Rand)
}

// sameLength makes a name with the dots where the client's has them.
func sameLength(dst []byte, e *Env, h tlshello.Hello) []byte {
	dst = h.AppendName(dst, e.Msg.Bytes)
	r := e.Rand | 1
	for i, c := range dst {
		r = lcg(r)
		if c != '.' {
			dst[i] = 'a' + byte(r>>33%26)
		}
	}
	return dst
}

// lcg is a linear congruential generator by Knuth's MMIX multiplier.
func lcg(r uint64) uint64 { return r*6364136223846793005 + 1442695040888963407 }

func appendRandom(dst []byte, n int, seed uint64) []byte {
	for range n {
		seed = lcg(seed)
		dst = append(dst, byte(seed>>33))
	}
	return dst
}

func appendZero(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, 0)
	}
	return dst
}
