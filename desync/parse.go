package desync

import (
	"fmt"
	"strconv"
	"strings"
)

// An Error is what is wrong with a strategy's text, and where.
type Error struct {
	Text string // the strategy
	Pos  int    // offset in Text, in bytes
	Msg  string
}

func (e *Error) Error() string {
	return fmt.Sprintf("strategy %q, position %d: %s", e.Text, e.Pos+1, e.Msg)
}

// An arg is one argument of a step: a value, or key=value.
type arg struct {
	key, val string
	pos      int // of the value
}

// A spec is one word of the language.
type spec struct {
	name   string
	packet bool // belongs to the packet layer
	once   bool // may stand but once
	parse  func(p *parser, args []arg) Step
	refuse string // why the word is known and cannot be used
}

// maxText bounds a strategy's text, maxSteps its steps and cuts.
const (
	maxText  = 1024
	maxSteps = 16
)

// Parse reads a strategy for messages of kind pr. The empty text is the strategy
// that does nothing. An error is an *Error.
func (pr Proto) Parse(text string) (*Strategy, error) { return pr.ParseWith(text, nil) }

// ParseWith is Parse for texts that may name files, of which read returns the
// contents; the strategy keeps them.
func (pr Proto) ParseWith(text string, read func(path string) ([]byte, error)) (*Strategy, error) {
	p := &parser{proto: pr, read: read, text: text}
	if len(text) > maxText {
		p.fail(maxText, "longer than %d bytes", maxText)
	}
	var steps []Step
	var words []string
	inPackets := false
	for p.space(); p.pos < len(text) && p.err == nil; p.space() {
		at := p.pos
		sp, st := p.step()
		if len(steps) == maxSteps {
			p.fail(at, "more than %d steps", maxSteps)
		}
		if inPackets && !sp.packet {
			p.fail(at, "%s makes segments and must stand before the steps that act on packets", sp.name)
		}
		if sp.once && index(words, sp.name) >= 0 {
			p.fail(at, "%s stands twice", sp.name)
		}
		inPackets = sp.packet
		words = append(words, sp.name)
		steps = append(steps, st)
	}
	if p.err != nil {
		return nil, p.err
	}
	return newStrategy(pr, steps), nil
}

type parser struct {
	proto Proto
	read  func(path string) ([]byte, error) // nil where no file may be named
	text  string
	pos   int
	err   error
}

// fail keeps the first error.
func (p *parser) fail(pos int, format string, a ...any) {
	if p.err == nil {
		p.err = &Error{p.text, pos, fmt.Sprintf(format, a...)}
	}
}

func (p *parser) space() {
	for p.pos < len(p.text) && (p.text[p.pos] == ' ' || p.text[p.pos] == '\t') {
		p.pos++
	}
}

// word reads up to one of the characters in stop, or a space.
func (p *parser) word(stop string) string {
	start := p.pos
	for p.pos < len(p.text) && p.text[p.pos] != ' ' && p.text[p.pos] != '\t' && !strings.ContainsRune(stop, rune(p.text[p.pos])) {
		p.pos++
	}
	return p.text[start:p.pos]
}

// is steps over c if it comes next.
func (p *parser) is(c byte) bool {
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *parser) step() (spec, Step) {
	at := p.pos
	name := p.word("(),=")
	for _, sp := range p.proto.specs() {
		if sp.name != name {
			continue
		}
		args := p.args()
		if sp.refuse != "" {
			p.fail(at, "%s %s", name, sp.refuse)
		}
		if p.err != nil {
			return sp, nil
		}
		return sp, sp.parse(p, args)
	}
	if name == "" {
		p.fail(at, "unexpected %q, want a step: %s", p.text[at:at+1], p.proto.stepNames())
	} else {
		p.fail(at, "unknown step %q, want one of %s", name, p.proto.stepNames())
	}
	return spec{}, nil
}

// args reads "(a, key=b)", or nothing.
func (p *parser) args() (args []arg) {
	save := p.pos
	if !p.is('(') {
		p.pos = save
		return nil
	}
	for p.err == nil {
		p.space()
		a := arg{pos: p.pos}
		a.val = p.word("(),=")
		if p.is('=') {
			if a.val == "" {
				p.fail(a.pos, "want a name before '='")
			}
			p.space()
			a.key, a.pos = a.val, p.pos
			a.val = p.word("(),=")
		}
		if a.val == "" {
			p.fail(a.pos, "want a value")
		}
		args = append(args, a)
		switch {
		case p.is(')'):
			return args
		case len(args) == maxSteps:
			p.fail(p.pos, "more than %d arguments", maxSteps)
		case !p.is(','):
			p.fail(p.pos, "want ',' or ')'")
		}
	}
	return nil
}

// number reads an argument as a whole number in [lo, hi].
func (p *parser) number(a arg, lo, hi int) int {
	n, err := strconv.Atoi(a.val)
	if err != nil || n < lo || n > hi {
		p.fail(a.pos, "%q is not a number from %d to %d", a.val, lo, hi)
	}
	return n
}

// only reads the one argument of a step, a number in [lo, hi] of what.
func (p *parser) only(step string, args []arg, what string, lo, hi int) int {
	if len(args) != 1 || args[0].key != "" {
		p.fail(p.pos, "%s wants a number of %s, from %d to %d", step, what, lo, hi)
		return lo
	}
	return p.number(args[0], lo, hi)
}

// unknown refuses an argument of a step that takes those in want.
func (p *parser) unknown(step string, a arg, want string) {
	if a.key == "" {
		p.fail(a.pos, "unknown word %q in %s, want %s", a.val, step, want)
	} else {
		p.fail(a.pos, "unknown parameter %q in %s, want %s", a.key, step, want)
	}
}

// none refuses arguments.
func (p *parser) none(name string, args []arg) {
	if len(args) > 0 {
		p.fail(args[0].pos, "%s takes no arguments", name)
	}
}

func (pr Proto) stepNames() string {
	var names []string
	for _, sp := range pr.specs() {
		if sp.refuse == "" {
			names = append(names, sp.name)
		}
	}
	return list(names)
}

func list(words []string) string { return strings.Join(words, ", ") }

// index is where word stands in words, -1 if it does not.
func index(words []string, word string) int {
	for i, w := range words {
		if w == word {
			return i
		}
	}
	return -1
}
