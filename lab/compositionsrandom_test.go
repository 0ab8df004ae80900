package lab

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"b4/desync"
)

// A composition is a strategy under test, for a host name of its own.
type composition struct {
	host  string
	text  string
	proto desync.Proto
	need  desync.Need
}

// handshake reports whether the strategy acts before a name is known, so that
// its rule must be the only one.
func (c *composition) handshake() bool { return c.need.Phases&(desync.SYN|desync.SYNACK) != 0 }

// option is the strategy as a section of the configuration.
func (c *composition) option(name string) string {
	return fmt.Sprintf("config strategy '%s'\n\toption %v '%s'\n", name, c.proto, c.text)
}

// rules are a section for each strategy, and a rule for each name.
func rules(list []composition) string {
	var text strings.Builder
	for i := range list {
		c := &list[i]
		name, _, _ := strings.Cut(c.host, ".")
		fmt.Fprintf(&text, "%sconfig rule\n\tlist domain '%s'\n\toption strategy '%s'\n", c.option(name), c.host, name)
	}
	return text.String()
}

// A generator makes strategies of the words and arguments that help lists, as
// they are legal by the language and honest by the lab:
//
//   - What the parser refuses is not made.
//   - A decoy whose TTL is a number and which nothing else keeps from the server
//     has one that ends ahead of it; with a larger one the server would read the
//     decoy, as its user has asked for. With other foolings any TTL will do.
//   - A decoy SYN that gets to the server has a fooling that a listener minds: the
//     parser sees to that.
//   - A file for decoys is there, and has bytes that mean nothing.
//   - In one of eight strategies there are steps for the handshake: each of those
//     needs a configuration of its own.
//   - Steps that not every server takes stand in HTTP alone, whose server here
//     takes them all.
type generator struct {
	r     *rand.Rand
	proto desync.Proto
	file  string // for decoys
	steps []desync.StepHelp
	seen  map[string]bool // canonical texts
}

func newGenerator(t *testing.T, proto desync.Proto, seed int64) *generator {
	t.Helper()
	g := &generator{rand.New(rand.NewSource(seed)), proto, filepath.Join(t.TempDir(), "decoy"), nil, map[string]bool{}}
	must(t, os.WriteFile(g.file, []byte(strings.Repeat("decoy ", 200)), 0o600))
	for _, h := range desync.Steps() {
		if slices.Contains(h.For, proto.String()) {
			g.steps = append(g.steps, h)
		}
	}
	return g
}

// singles is every step alone: with each value of each of its parameters that
// has few, and the least and the largest of numbers.
func (g *generator) singles() []composition {
	var list []composition
	for i := range g.steps {
		h := &g.steps[i]
		for j := -1; j < len(h.Params); j++ {
			values := []string{""}
			if j >= 0 {
				values = g.values(&h.Params[j])
			}
			for _, v := range values {
				list = g.add(list, g.single(h, j, v))
			}
		}
	}
	return list
}

// single is step h with one value, its parameter j's, and what it cannot be
// without.
func (g *generator) single(h *desync.StepHelp, j int, value string) string {
	var words []string
	fooled := false
	for i := range h.Params {
		q := &h.Params[i]
		if i == j {
			words = append(words, argument(q, value))
			fooled = fooled || q.Name == "fooling" || q.Name == "ttl"
		} else if q.Required {
			words = append(words, argument(q, g.value(q, false)))
		}
	}
	if !fooled && slices.ContainsFunc(h.Params, func(q desync.ParamHelp) bool { return q.Name == "ttl" }) {
		words = append(words, "ttl=auto")
	}
	return call(h.Name, words)
}

// values are those that are tried of a parameter.
func (g *generator) values(q *desync.ParamHelp) []string {
	switch q.Kind {
	case "number":
		return []string{strconv.Itoa(q.Min), strconv.Itoa(q.Max)}
	case "word":
		return q.Words
	case "position":
		list := []string{"1", "-1", "100", "-100"}
		for _, m := range g.markers() {
			list = append(list, m, m+"+1")
		}
		return list
	case "ttl":
		return []string{"auto", "auto-1", "auto-20", "1", strconv.Itoa(routers)}
	}
	return []string{g.value(q, false)}
}

// markers are those that the messages have.
func (g *generator) markers() []string {
	var names []string
	for _, m := range desync.Markers() {
		if slices.Contains(m.For, g.proto.String()) {
			names = append(names, m.Name)
		}
	}
	return names
}

// random is n strategies of one to six steps.
func (g *generator) random(n int) []composition {
	var list []composition
	for len(list) < n {
		list = g.add(list, g.compose())
	}
	return list
}

// add adds a strategy, if it is one, and a new one.
func (g *generator) add(list []composition, text string) []composition {
	s, err := g.proto.ParseWith(text, os.ReadFile)
	if err != nil || s.String() == "" || g.seen[s.String()] {
		return list
	}
	g.seen[s.String()] = true
	host := fmt.Sprintf("s%03d.example", len(g.seen))
	return append(list, composition{host, s.String(), g.proto, s.Need()})
}

func (g *generator) compose() string {
	order := []string{"syn", "message", "packet"}
	var chosen []*desync.StepHelp
	handshake := g.r.Intn(8) == 0
	for n := 1 + g.r.Intn(6); len(chosen) < n; {
		if h := &g.steps[g.r.Intn(len(g.steps))]; handshake || h.Phase != order[0] {
			chosen = append(chosen, h)
		}
	}
	slices.SortStableFunc(chosen, func(a, b *desync.StepHelp) int {
		return slices.Index(order, a.Phase) - slices.Index(order, b.Phase)
	})
	var text []string
	for _, h := range chosen {
		text = append(text, g.step(h))
	}
	return strings.Join(text, " ")
}

// step is a step with some arguments.
func (g *generator) step(h *desync.StepHelp) string {
	fooled := g.r.Intn(2) == 0
	var words []string
	for i := range h.Params {
		q := &h.Params[i]
		need := q.Required || q.Name == "fooling" && fooled || q.Name == "ttl" && !fooled
		for (need || g.r.Intn(4) == 0) && len(words) < 12 && !(q.Name == "fooling" && !fooled) {
			words = append(words, argument(q, g.value(q, fooled)))
			if need = false; !q.Many {
				break
			}
		}
	}
	return call(h.Name, words)
}

// value is any value of a parameter; of a decoy that is fooled, the TTL does not
// matter.
func (g *generator) value(q *desync.ParamHelp, fooled bool) string {
	one := func(words ...string) string { return words[g.r.Intn(len(words))] }
	switch q.Kind {
	case "number":
		n := q.Max - q.Min + 1
		if g.r.Intn(2) == 0 {
			n = min(n, 32)
		}
		n = q.Min + g.r.Intn(n)
		return strconv.Itoa(n - n%max(q.Multiple, 1))
	case "word":
		return one(q.Words...)
	case "position":
		off := g.r.Intn(60) - 20
		if g.r.Intn(5) == 0 {
			return strconv.Itoa(off * 30)
		}
		return fmt.Sprintf("%s%+d", one(g.markers()...), off)
	case "host":
		return one("a.example", "www.w3.org", "x", strings.Repeat("long.", 40)+"example")
	case "path":
		return g.file
	}
	if fooled {
		return one("auto", "auto-2", "auto+3", "3", "64", "255")
	}
	return one("auto", "auto", "auto-1", "auto-"+strconv.Itoa(1+g.r.Intn(20)), strconv.Itoa(1+g.r.Intn(routers)))
}

func argument(q *desync.ParamHelp, value string) string {
	if q.Keyed {
		return q.Name + "=" + value
	}
	return value
}

func call(name string, words []string) string {
	if len(words) == 0 {
		return name
	}
	return name + "(" + strings.Join(words, ", ") + ")"
}
