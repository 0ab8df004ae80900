package desync

import "strconv"

// A StepHelp is one word of the language, told to people. A name that means
// something else in another protocol has an entry for each.
type StepHelp struct {
	Name   string      `json:"name"`
	For    []string    `json:"for"`   // protocols: tls, http, quic
	Phase  string      `json:"phase"` // syn, message or packet, in which order steps stand
	Once   bool        `json:"once"`  // may stand but once
	Help   string      `json:"help"`  // one line
	Params []ParamHelp `json:"params"`
}

// A ParamHelp is one parameter of a step.
type ParamHelp struct {
	Name     string   `json:"name"`
	Keyed    bool     `json:"keyed"` // it is written name=value, else the value alone
	Kind     string   `json:"kind"`  // number, word, position, host, path or ttl
	Min      int      `json:"min"`   // of a number
	Max      int      `json:"max"`
	Multiple int      `json:"multiple"`        // of what a number must be a multiple; 0 is 1
	Words    []string `json:"words,omitempty"` // of a word: those it may be
	Default  string   `json:"default,omitempty"`
	Required bool     `json:"required"`
	Many     bool     `json:"many"` // may stand more than once
	Help     string   `json:"help"`
}

// A MarkerHelp is one place of a message that positions may name.
type MarkerHelp struct {
	Name string   `json:"name"`
	For  []string `json:"for"` // protocols whose messages have it
	Help string   `json:"help"`
}

// Steps lists every word that strategies may use, in the order of phases.
func Steps() []StepHelp {
	var all []StepHelp
	for _, sp := range specs() {
		if sp.refuse != "" {
			continue
		}
		h := StepHelp{sp.name, sp.in.names(), sp.phase.String(), sp.once, sp.help, nil}
		for i := range sp.params {
			q := &sp.params[i]
			h.Params = append(h.Params, ParamHelp{q.name, q.keyed, q.kind.String(), q.lo, q.hi, q.by, q.words, q.def, q.must, q.many, q.help})
		}
		all = append(all, h)
	}
	return all
}

// Markers lists every marker that positions may name.
func Markers() []MarkerHelp {
	var all []MarkerHelp
	for _, m := range markers {
		all = append(all, MarkerHelp{m.name, m.in.names(), m.help})
	}
	return all
}

// Usage is how the step is written: what may be left out in [], what may stand
// more than once with … behind.
func (h *StepHelp) Usage() string {
	s, open := h.Name, "("
	for i := range h.Params {
		q := &h.Params[i]
		s += open
		open = ", "
		if q.Required {
			s += q.usage()
		} else {
			s += "[" + q.usage() + "]"
		}
	}
	if open == "(" {
		return s
	}
	return s + ")"
}

func (q *ParamHelp) usage() string {
	s := q.Name
	if q.Keyed {
		s += "=" + q.Kind
	}
	if q.Keyed && q.Kind == number.String() {
		s = q.Name + "=" + strconv.Itoa(q.Min) + "-" + strconv.Itoa(q.Max)
	}
	if q.Many {
		s += "…"
	}
	return s
}

// Values is which values the parameter takes, and the one it has if left out; ""
// where its kind says it all.
func (q *ParamHelp) Values() string {
	text := q.values()
	switch {
	case q.Default == "":
		return text
	case text == "":
		return "else " + q.Default
	}
	return text + "; else " + q.Default
}

func (q *ParamHelp) values() string {
	switch {
	case len(q.Words) > 0:
		return list(q.Words)
	case q.Kind == distance.String():
		further := strconv.Itoa(maxFurther)
		return "1 to 255, auto, auto-" + further + " to auto+" + further
	case q.Kind != number.String():
		return ""
	case q.Multiple > 1:
		return "multiples of " + strconv.Itoa(q.Multiple) + " from " + strconv.Itoa(q.Min) + " to " + strconv.Itoa(q.Max)
	}
	return strconv.Itoa(q.Min) + " to " + strconv.Itoa(q.Max)
}
