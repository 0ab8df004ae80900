package desync

import "strings"

// hostspell writes the Host field's name in the letters given. To servers they
// are all one (RFC 9110 section 5.1).
var hostspellSpec = spec{
	name: "hostspell", in: inHTTP, phase: messagePhase,
	help:   "write the Host field's name in other letters",
	params: []param{{name: "name", kind: word, words: spellings("host"), must: true, help: "the name as it is to be"}},
	make: func(_ *parser, a *args) Step {
		name := a.word("name")
		return &rewriting{"hostspell(" + name + ")", func(p *Plan, e *Env) error { return spell(p, e, name) }}
	},
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

func spell(p *Plan, e *Env, name string) error {
	if r := &e.Msg.Request; r.FieldEnd > 0 {
		copy(p.rewrite(e)[r.Field:r.FieldEnd], name)
	}
	return nil
}
