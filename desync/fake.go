package desync

import (
	"errors"
	"strconv"
	"strings"

	"b4/tlshello"
)

// fake sends a decoy ClientHello ahead of the message, in the group of its first
// segment. The decoy says another name, and fooling keeps the server from
// reading it.
type fake struct {
	sni    string // the decoy's name; empty for a clone is a name of the same length
	clone  bool   // made from the client's own hello
	ttl    uint8  // 0 is the client's
	fool   Fool
	repeat int
}

// defaultSNI is the name a made decoy says: a site that is large, harmless and
// allowed nearly everywhere.
const defaultSNI = "www.w3.org"

// errNoRoom is why a decoy cannot be made: without its option the server would
// read it.
var errNoRoom = errors.New("no room for the TCP MD5 option")

func parseFake(p *parser, args []arg) Step {
	f := &fake{repeat: 1}
	end := p.pos
	for _, a := range args {
		switch {
		case a.key == "" && a.val == "clone":
			f.clone = true
		case a.key == "" && a.val == "badsum":
			f.fool |= BadSum
		case a.key == "" && a.val == "md5":
			f.fool |= MD5
		case a.key == "sni":
			f.sni = p.hostName(a)
		case a.key == "ttl" && a.val == "auto":
			p.fail(a.pos, "ttl=auto needs the distance to the server, which this version does not measure; give a number")
		case a.key == "ttl":
			f.ttl = uint8(p.number(a, 1, 255))
		case a.key == "repeat":
			f.repeat = p.number(a, 1, 10)
		case a.key == "":
			p.fail(a.pos, "unknown word %q in fake, want clone, badsum, md5, sni=, ttl=, repeat=", a.val)
		default:
			p.fail(a.pos, "unknown parameter %q in fake, want sni, ttl or repeat", a.key)
		}
	}
	if f.ttl == 0 && f.fool == 0 {
		p.fail(end, "fake needs ttl=, badsum or md5: without one the server reads the decoy")
	}
	if f.sni == "" && !f.clone {
		f.sni = defaultSNI
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
	if f.clone {
		w = append(w, "clone")
	}
	if f.sni != "" {
		w = append(w, "sni="+f.sni)
	}
	if f.ttl != 0 {
		w = append(w, "ttl="+strconv.Itoa(int(f.ttl)))
	}
	if f.fool&BadSum != 0 {
		w = append(w, "badsum")
	}
	if f.fool&MD5 != 0 {
		w = append(w, "md5")
	}
	if f.repeat != 1 {
		w = append(w, "repeat="+strconv.Itoa(f.repeat))
	}
	return "fake(" + strings.Join(w, ", ") + ")"
}

func (f *fake) Apply(p *Plan, e *Env) error {
	if f.fool&MD5 != 0 && !e.canMD5() {
		return errNoRoom
	}
	start := len(p.arena)
	p.arena = f.payload(p.arena, e)
	data := p.arena[start:len(p.arena):len(p.arena)]
	for range f.repeat {
		p.addDecoy(Seg{Len: len(data), Data: data, TTL: f.ttl, Fool: f.fool})
	}
	return nil
}

// payload appends the decoy's bytes.
func (f *fake) payload(dst []byte, e *Env) []byte {
	h := e.Msg.Hello
	if f.clone && h.Named() {
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
		r = r*6364136223846793005 + 1442695040888963407 // Knuth's MMIX multiplier
		if c != '.' {
			dst[i] = 'a' + byte(r>>33%26)
		}
	}
	return dst
}
