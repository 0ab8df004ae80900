package desync

import (
	"strconv"
	"strings"
)

// A spec is one word of the language. The parser reads by it and Steps tells of
// it, so that help says what is read.
type spec struct {
	name   string
	in     protos
	phase  phase
	once   bool // may stand but once
	help   string
	params []param
	make   func(p *parser, a *args) Step // of arguments that fit params
	refuse string                        // why the word is known and cannot be used
}

// protos is a set of kinds of messages.
type protos uint8

const (
	inTLS  protos = 1 << TLS
	inHTTP protos = 1 << HTTP
	inQUIC protos = 1 << QUIC
	inTCP         = inTLS | inHTTP
	inAll         = inTCP | inQUIC
)

func (s protos) has(pr Proto) bool { return s>>pr&1 == 1 }

func (s protos) names() (names []string) {
	for pr := range Protos {
		if s.has(pr) {
			names = append(names, pr.String())
		}
	}
	return names
}

// A phase is what of a connection a step works on. Steps stand in their order.
type phase uint8

const (
	synPhase     phase = iota // the handshake
	messagePhase              // the message, of which segments are made
	packetPhase               // the packets those become
)

func (ph phase) String() string { return [...]string{"syn", "message", "packet"}[ph] }

// A kind is what values a parameter takes.
type kind uint8

const (
	number   kind = iota // from lo to hi, a multiple of by
	word                 // one of words
	position             // a place in the message
	hostname             // a DNS name
	path                 // of a file
	distance             // a TTL: a number, or auto and what to add to it
)

func (k kind) String() string {
	return [...]string{"number", "word", "position", "host", "path", "ttl"}[k]
}

// A param is one parameter of a step: name=value if it is keyed, else the value
// alone.
type param struct {
	name   string
	keyed  bool
	kind   kind
	lo, hi int
	by     int // 0 is 1
	words  []string
	def    string // what its absence means
	must   bool   // may not be absent
	many   bool   // may stand more than once
	help   string
}

// want says what values q takes.
func (q *param) want() string {
	switch q.kind {
	case number:
		s := "a number from " + strconv.Itoa(q.lo) + " to " + strconv.Itoa(q.hi)
		if q.by > 1 {
			s += ", a multiple of " + strconv.Itoa(q.by)
		}
		return s
	case word:
		return list(q.words)
	case position:
		return "a position"
	case hostname:
		return "a host name"
	case path:
		return "the path of a file"
	}
	return "a number from 1 to 255, or auto with +n or -n behind"
}

// An arg is one argument of a step: a value, or key=value.
type arg struct {
	key, val string
	at       int // where it begins
	pos      int // of the value
	param    *param

	num  int    // of a number, and of a distance
	auto bool   // of a distance: num is to be added to that of the server
	cut  pos    // of a position
	data []byte // of a path: what the file has
}

// args are the arguments of one step, which fit its spec.
type args struct {
	spec *spec
	list []arg
	end  int // where the step ends
}

// find is the argument for the parameter of a name, nil if there is none.
func (a *args) find(name string) *arg {
	for i := range a.list {
		if a.list[i].param.name == name {
			return &a.list[i]
		}
	}
	return nil
}

// word is the value of a parameter, given or by default.
func (a *args) word(name string) string {
	if x := a.find(name); x != nil {
		return x.val
	}
	for i := range a.spec.params {
		if q := &a.spec.params[i]; q.name == name {
			return q.def
		}
	}
	return ""
}

// number is the value of a parameter that is a number.
func (a *args) number(name string) int {
	if x := a.find(name); x != nil {
		return x.num
	}
	n, _ := strconv.Atoi(a.word(name))
	return n
}

// bind finds the parameter of every argument and reads its value.
func (p *parser) bind(a *args) {
	for i := range a.list {
		x := &a.list[i]
		q := a.match(i)
		switch {
		case q == nil && len(a.spec.params) == 0:
			p.fail(x.pos, "%s takes no arguments", a.spec.name)
		case q == nil && x.key == "" && foolNamed(x.val) != 0 && a.spec.fools():
			p.fail(x.pos, "%s does not keep the server from it, want %s", x.val, a.spec.words())
		case q == nil && x.key == "":
			p.fail(x.pos, "unknown word %q in %s, want %s", x.val, a.spec.name, a.spec.words())
		case q == nil:
			p.fail(x.at, "unknown parameter %q in %s, want %s", x.key, a.spec.name, a.spec.words())
		case !q.many && a.given(i, q):
			p.fail(x.pos, "%s has one %s, and %q is the second", a.spec.name, q.name, x.val)
		default:
			x.param = q
			p.value(x)
		}
		if p.err != nil {
			return
		}
	}
	for i := range a.spec.params {
		if q := &a.spec.params[i]; q.must && a.find(q.name) == nil {
			p.fail(a.end, "%s wants %s: %s", a.spec.name, q.want(), q.help)
		}
	}
}

// match is the parameter that argument i is for. A value alone is one of a
// parameter's words, or else for the parameter that takes others.
func (a *args) match(i int) *param {
	x := &a.list[i]
	var open *param
	for j := range a.spec.params {
		switch q := &a.spec.params[j]; {
		case q.keyed && x.key == q.name, !q.keyed && x.key == "" && q.kind == word && index(q.words, x.val) >= 0:
			return q
		case !q.keyed && x.key == "" && q.kind != word && open == nil && (q.many || !a.given(i, q)):
			open = q
		}
	}
	return open
}

// given reports whether one of the arguments ahead of argument i is for q.
func (a *args) given(i int, q *param) bool {
	for _, x := range a.list[:i] {
		if x.param == q {
			return true
		}
	}
	return false
}

// fools reports whether the step has decoys.
func (sp *spec) fools() bool {
	for i := range sp.params {
		if sp.params[i].name == fooling {
			return true
		}
	}
	return false
}

// words lists what may stand in the brackets.
func (sp *spec) words() string {
	var w []string
	for i := range sp.params {
		switch q := &sp.params[i]; {
		case q.keyed:
			w = append(w, q.name+"=")
		case q.kind == word:
			w = append(w, q.words...)
		default:
			w = append(w, q.want())
		}
	}
	return list(w)
}

// value reads the value of x by its parameter.
func (p *parser) value(x *arg) {
	switch q := x.param; q.kind {
	case number:
		x.num = p.number(x, q)
	case word:
		if index(q.words, x.val) < 0 {
			p.fail(x.pos, "%q is no %s, want %s", x.val, q.name, list(q.words))
		}
	case position:
		x.cut = p.position(x)
	case hostname:
		x.val = p.hostName(x)
	case path:
		x.data = p.file(x)
	case distance:
		p.distance(x)
	}
}

func (p *parser) number(x *arg, q *param) int {
	n, err := strconv.Atoi(x.val)
	if err != nil || n < q.lo || n > q.hi || q.by > 1 && n%q.by != 0 {
		p.fail(x.pos, "%q is not %s", x.val, q.want())
	}
	return n
}

// hostName reads a DNS name of letters, digits, hyphens and dots.
func (p *parser) hostName(x *arg) string {
	ok := len(x.val) <= 253
	for _, c := range []byte(x.val) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.')
	}
	if !ok {
		p.fail(x.pos, "%q is not a host name", x.val)
	}
	return strings.ToLower(x.val)
}

// maxFile bounds what a decoy takes from a file, in bytes: a few packets.
const maxFile = 4 << 10

func (p *parser) file(x *arg) []byte {
	if p.read == nil {
		p.fail(x.pos, "no file may be named here")
		return nil
	}
	data, err := p.read(x.val)
	switch {
	case err != nil:
		p.fail(x.pos, "read %s: %v", x.val, err)
	case len(data) == 0:
		p.fail(x.pos, "%s is empty", x.val)
	case len(data) > maxFile:
		p.fail(x.pos, "%s has %d bytes, more than %d", x.val, len(data), maxFile)
	}
	return data
}

// maxFurther bounds what may be added to the distance of the server, routers.
const maxFurther = 20

func (p *parser) distance(x *arg) {
	num, lo, hi := x.val, 1, 255
	if rest, ok := strings.CutPrefix(x.val, "auto"); ok {
		x.auto = true
		if rest == "" {
			return
		}
		num, lo, hi = rest, -maxFurther, maxFurther
		if rest[0] != '+' && rest[0] != '-' {
			num = ""
		}
	}
	n, err := strconv.Atoi(num)
	if err != nil || n < lo || n > hi {
		p.fail(x.pos, "%q is not %s", x.val, x.param.want())
	}
	x.num = n
}
