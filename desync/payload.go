package desync

import (
	"b4/quic"
	"b4/tlshello"
)

// A payload is what a decoy says.
type payload struct {
	kind  string // one of payloadNames, or file
	sni   string // the name it says; empty for a clone is a name of the same length
	path  string // of file
	bytes []byte // of a file, and of quic over TCP
}

// defaultSNI is the name a made decoy says: a site that is large, harmless and
// allowed nearly everywhere.
const defaultSNI = "www.w3.org"

// payloadNames are the words for what a decoy is made of.
var payloadNames = []string{"hello", "clone", "http", "quic", "zero", "random"}

// payloadHelp says what each of them is.
var payloadHelp = [...]string{"a ClientHello", "the client's message with another name", "a request", "a QUIC Initial", "zeroes", "random bytes"}

// payloadParams are the parameters of a step that sends a payload, by default
// the one named def.
func payloadParams(def string, words []string) []param {
	var help []string
	for _, w := range words {
		help = append(help, payloadHelp[index(payloadNames, w)])
	}
	return []param{
		{name: "payload", kind: word, words: words, def: def,
			help: list(help)},
		{name: "sni", keyed: true, kind: hostname, def: defaultSNI, help: "the name it says; a clone without it says one as long as the client's"},
		{name: "file", keyed: true, kind: path, help: "or what a file has, at most 4 KB"},
	}
}

// makePayload reads a step's payloadParams.
func makePayload(p *parser, a *args) payload {
	l := payload{kind: a.word("payload")}
	sni, file := a.find("sni"), a.find("file")
	if sni != nil {
		l.sni = sni.val
	}
	switch {
	case file != nil && a.find("payload") != nil:
		p.fail(file.pos, "%s has one payload, %s or a file", a.spec.name, l.kind)
	case file != nil:
		l.kind, l.path, l.bytes = "file", file.val, file.data
	}
	switch l.kind {
	case "hello", "http", "quic":
		if sni == nil {
			l.sni = defaultSNI
		}
	case "zero", "random", "file":
		if sni != nil {
			p.fail(sni.pos, "%s says no name", l.kind)
		}
	}
	if l.kind == "quic" && p.proto != QUIC {
		l.bytes = sealed(l.sni)
	}
	return l
}

// sealed is a QUIC Initial that says name. It is made once, as its keys cost more
// than all else of a plan.
func sealed(name string) []byte {
	const anySeed = 4
	b, err := new(quic.Sealer).AppendDecoy(nil, quic.V1, name, anySeed)
	if err != nil {
		return nil // a name so long that its hello does not fit a datagram
	}
	return b
}

// words are the canonical words for l, where def is the payload by default.
func (l *payload) words(def string) (w []string) {
	switch l.kind {
	case "file":
		w = append(w, "file="+l.path)
	case def:
	default:
		w = append(w, l.kind)
	}
	if l.sni != "" {
		w = append(w, "sni="+l.sni)
	}
	return w
}

// append appends the bytes. Those without meaning are as many as size.
func (l *payload) append(dst []byte, e *Env, size int) []byte {
	switch l.kind {
	case "quic", "file":
		return append(dst, l.bytes...)
	case "zero":
		return appendZero(dst, size)
	case "random":
		return appendRandom(dst, size, e.Rand)
	case "clone":
		if out, ok := l.clone(dst, e); ok {
			return out
		}
		return appendHello(dst, e.Msg.Proto, l.orDefault(), e.Rand)
	case "http":
		return appendHello(dst, HTTP, l.sni, e.Rand)
	}
	return appendHello(dst, TLS, l.sni, e.Rand)
}

func (l *payload) orDefault() string {
	if l.sni == "" {
		return defaultSNI
	}
	return l.sni
}

// clone appends the message with another name, if it says one.
func (l *payload) clone(dst []byte, e *Env) ([]byte, bool) {
	m := &e.Msg
	from, to := m.name()
	if to <= from {
		return dst, false
	}
	name := l.sni
	var room [253]byte
	if name == "" {
		name = string(sameLength(room[:0], e))
	}
	if m.Proto == HTTP {
		dst = append(append(dst, m.Bytes[:from]...), name...)
		return append(dst, m.Bytes[to:]...), true
	}
	return tlshello.AppendRenamed(dst, m.Bytes, m.Hello, name)
}

// sameLength makes a name with the dots where the client's has them.
func sameLength(dst []byte, e *Env) []byte {
	if m := &e.Msg; m.Proto == HTTP {
		from, to := m.name()
		dst = append(dst, m.Bytes[from:to]...)
	} else {
		dst = m.Hello.AppendName(dst, m.Bytes)
	}
	r := e.Rand | 1
	for i, c := range dst {
		r = lcg(r)
		if c != '.' {
			dst[i] = 'a' + byte(r>>33%26)
		}
	}
	return dst
}

// appendHello appends what a client that asks for name says first.
func appendHello(dst []byte, pr Proto, name string, seed uint64) []byte {
	if pr == HTTP {
		dst = append(append(dst, "GET / HTTP/1.1\r\nHost: "...), name...)
		return append(dst, "\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"...)
	}
	return tlshello.AppendDecoy(dst, name, seed)
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
