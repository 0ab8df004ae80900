package desync

import (
	"fmt"
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
	latest := synPhase
	for p.space(); p.pos < len(text) && p.err == nil; p.space() {
		at := p.pos
		sp, st := p.step()
		if p.err != nil {
			break
		}
		switch {
		case len(steps) == maxSteps:
			p.fail(at, "more than %d steps", maxSteps)
		case sp.phase < latest:
			p.fail(at, "%s is a step for the %s and must stand before those for the %s", sp.name, sp.phase, latest)
		case sp.once && index(words, sp.name) >= 0:
			p.fail(at, "%s stands twice", sp.name)
		}
		latest = sp.phase
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

func (p *parser) step() (*spec, Step) {
	at := p.pos
	name := p.word("(),=")
	sp := p.spec(name, at)
	if sp == nil {
		return nil, nil
	}
	a := &args{spec: sp, list: p.args()}
	a.end = p.pos
	if p.err == nil {
		p.bind(a)
	}
	if sp.refuse != "" {
		p.fail(at, "%s %s", name, sp.refuse)
	}
	if p.err != nil {
		return sp, nil
	}
	return sp, sp.make(p, a)
}

// spec finds the word that stands at at.
func (p *parser) spec(name string, at int) *spec {
	var others protos
	for _, sp := range specs() {
		if sp.name == name && sp.in.has(p.proto) {
			return sp
		}
		if sp.name == name {
			others |= sp.in
		}
	}
	switch {
	case name == "":
		p.fail(at, "unexpected %q, want a step: %s", p.text[at:at+1], p.stepNames())
	case others != 0:
		p.fail(at, "%s is for %s, and this strategy is for %s", name, list(others.names()), p.proto)
	default:
		p.fail(at, "unknown step %q, want one of %s", name, p.stepNames())
	}
	return nil
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
		a := arg{at: p.pos, pos: p.pos}
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

func (p *parser) stepNames() string {
	var names []string
	for _, sp := range specs() {
		if sp.refuse == "" && sp.in.has(p.proto) {
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
