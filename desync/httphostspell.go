package desync

import "strings"

// hostspell writes the Host field's name in the letters given.
type hostspell string

var hostspellSpec = spec{
	name: "hostspell", in: inHTTP, phase: messagePhase,
	help:   "write the Host field's name in other letters",
	params: []param{{name: "name", kind: word, words: spellings("host"), must: true, help: "the name as it is to be"}},
	make:   func(_ *parser, a *args) Step { return hostspell(a.word("name")) },
}

// spellings are all ways to write name in small and capital letters.
func spellings(name string) []string {
	words := []string{""}
	for _, c := range strings.Split(name, "") {
		var longer []string
		for _, w := range words {
			longer = append(longer, w+c, w+strings.ToUpper(c))
		}
		words = longer
	}
	return words
}

func (hostspell) Need() Need       { return Need{} }
func (hostspell) Harm() Harm       { return Segments }
func (h hostspell) String() string { return "hostspell(" + string(h) + ")" }

func (h hostspell) Apply(p *Plan, e *Env) error {
	h.spell(p, e)
	return nil
}

func (h hostspell) spell(p *Plan, e *Env) {
	if r := &e.Msg.Request; r.FieldEnd > 0 {
		copy(p.rewrite(e)[r.Field:r.FieldEnd], h)
	}
}
