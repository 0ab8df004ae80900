package fw

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A fate is what a chain does with a packet.
type fate uint8

const (
	onward     fate = iota // nothing: the next rule, or chain, decides
	returned               // the chain ends, as if its rules had been
	accepted               // the hook's next base chain decides
	dropped                // or rejected
	translated             // source NAT to the address of the device
	rebound                // source NAT to something else
	fates
)

// An ending is that a fate may be met, and by whom.
type ending struct {
	met bool
	// some is which rule sorts out those who meet it, in words; "" if it is
	// all of whom the other rules tell nothing special.
	some string
	by   string // the rule that has the last word
}

// endings are those that packets of one description may meet.
type endings [fates]ending

// add joins e to the endings of a fate. If only some have come this far, path
// says who sorted them out.
func (o *endings) add(f fate, path string, e ending) {
	if path != "" {
		e.some = path
	}
	if e.met && (!o[f].met || e.some == "" && o[f].some != "") {
		o[f] = e
	}
}

// An oracle tells the fate of packets of one description in others' chains. It
// knows part of what their rules ask for. Where it does not, both cases are
// gone into.
type oracle struct {
	rules *ruleset
	know  *knowledge
	known map[*foreignChain]*endings

	scatters bool // ports are drawn at random by a rule that may be met

	put  func(c *foreignChain, flowtable string) // is told what may be offloaded, unless nil
	pass func(rule *byte, words string)          // and which rules may accept
}

func newOracle(r *ruleset, k *knowledge) *oracle {
	return &oracle{rules: r, know: k, known: map[*foreignChain]*endings{}}
}

// ask tells what may become of a packet in c, going through each chain once. A
// loop, which the kernel does not take, ends where it begins.
func (o *oracle) ask(c *foreignChain) endings {
	if e := o.known[c]; e != nil {
		return *e
	}
	all := &endings{onward: {met: true}}
	o.known[c] = all
	*all = o.walk(c)
	return *all
}

func (o *oracle) walk(c *foreignChain) (all endings) {
	rest := ending{met: true} // who comes to the next rule
	for _, r := range c.rules {
		e := o.rule(c, r)
		for f := returned; f < fates; f++ {
			all.add(f, rest.some, e[f])
		}
		var next endings
		next.add(onward, rest.some, e[onward])
		if rest = next[onward]; !rest.met {
			break
		}
	}
	all.add(onward, "", rest)
	all.add(onward, "", all[returned])
	all[returned] = ending{}
	return all
}

// rule tells what one rule does. Its expressions are conditions until one has a
// verdict.
func (o *oracle) rule(c *foreignChain, list attrs) endings {
	q := query{know: o.know, rules: o.rules, table: c.table}
	whole := list
	pass := endings{onward: {met: true}}
	for _, x, ok := list.next(); ok; _, x, ok = list.next() {
		name, a := x.text(unix.NFTA_EXPR_NAME), x.get(unix.NFTA_EXPR_DATA)
		if act, words, ok := o.act(c, &q, name, a); ok {
			if o.pass != nil && act[accepted].met {
				o.pass(&whole[0], c.String()+": "+words)
			}
			return q.met(act, c.String()+": "+words)
		}
		if o.put != nil && name == "flow_offload" {
			o.put(c, a.text(flowName))
		}
		q.take(name, a)
		if q.no {
			return pass
		}
	}
	return pass
}

// met is act where the conditions so far hold, and the next rule elsewhere.
func (q *query) met(act endings, words string) endings {
	for f := range act {
		if act[f].met && act[f].by == "" {
			act[f].by = words
		}
		if act[f].met && q.some != "" && act[f].some == "" {
			act[f].some = words + " for some " + q.some + " only"
		}
	}
	if q.some != "" {
		act.add(onward, "", ending{met: true})
	}
	return act
}

// act tells what an expression does that ends its rule.
func (o *oracle) act(c *foreignChain, q *query, name string, a attrs) (e endings, words string, ok bool) {
	end := func(f fate, words string) (endings, string, bool) {
		var e endings
		e[f].met = true
		return e, words, true
	}
	switch name {
	case "immediate":
		if v := a.get(unix.NFTA_IMMEDIATE_DATA).get(unix.NFTA_DATA_VERDICT); v != nil {
			return o.verdict(c, v)
		}
	case "lookup":
		if a.has(unix.NFTA_LOOKUP_DREG) && a.num(unix.NFTA_LOOKUP_DREG) == unix.NFT_REG_VERDICT {
			return o.verdictMap(c, q, a)
		}
	case "masq", "fullcone": // fullcone is masquerade for TCP (nft-fullcone)
		o.draws(a.num(unix.NFTA_MASQ_FLAGS))
		return end(translated, "masquerade")
	case "nat":
		o.draws(a.num(unix.NFTA_NAT_FLAGS))
		words := "snat"
		if to, ok := q.addr(a.num(unix.NFTA_NAT_REG_ADDR_MIN)); ok {
			words += " to " + to
		}
		return end(rebound, words)
	case "reject":
		return end(dropped, "reject")
	case "queue", "tproxy", "fwd":
		return end(accepted, name)
	case "target":
		t := a.text(unix.NFTA_TARGET_NAME)
		switch t {
		case "MASQUERADE", "SNAT":
			o.draws(targetFlags(c, a.get(unix.NFTA_TARGET_INFO)))
		}
		switch t {
		case "MASQUERADE", "FULLCONENAT":
			return end(translated, t)
		case "SNAT", "NETMAP", "SAME":
			return end(rebound, t)
		case "REJECT":
			return end(dropped, t)
		case "NFQUEUE":
			return end(accepted, t)
		}
	}
	return e, "", false
}

// The verdicts of linux/netfilter.h that are not of nf_tables.
const (
	nfDrop   = 0
	nfAccept = 1
	nfQueue  = 3
)

func (o *oracle) verdict(c *foreignChain, v attrs) (e endings, words string, ok bool) {
	if !v.has(unix.NFTA_VERDICT_CODE) {
		return e, "", false
	}
	chain := v.text(unix.NFTA_VERDICT_CHAIN)
	switch code := int32(v.num(unix.NFTA_VERDICT_CODE)); code & 0xff {
	case unix.NFT_CONTINUE & 0xff:
		e[onward].met = true
		return e, "continue", true
	case unix.NFT_JUMP & 0xff:
		return o.enter(c, chain, false), "jump " + chain, true
	case unix.NFT_GOTO & 0xff:
		return o.enter(c, chain, true), "goto " + chain, true
	case unix.NFT_RETURN & 0xff:
		e[returned].met = true
		return e, "return", true
	case nfDrop:
		e[dropped].met = true
		return e, "drop", true
	case nfAccept, nfQueue:
		e[accepted].met = true
		return e, "accept", true
	}
	return e, "", false
}

// enter is what comes of a jump. What a goto's chain lets go has come to the end
// of c as well.
func (o *oracle) enter(c *foreignChain, name string, goesTo bool) endings {
	to := o.rules.find(c.table, name)
	if to == nil {
		return endings{onward: {met: true}}
	}
	e := o.ask(to)
	if goesTo {
		e[returned], e[onward] = e[onward], ending{}
	}
	return e
}

// verdictMap joins what the elements say that the key may be.
func (o *oracle) verdictMap(c *foreignChain, q *query, a attrs) (endings, string, bool) {
	set := a.text(unix.NFTA_LOOKUP_SET)
	found, sure := q.lookup(a)
	var all endings
	for _, el := range found {
		if e, words, ok := o.verdict(c, el.verdict); ok {
			if !sure {
				for f := range e {
					if e[f].met && e[f].some == "" {
						e[f].some = fmt.Sprintf("%v: %s for some %s only", c, words, q.what(a.num(unix.NFTA_LOOKUP_SREG)))
					}
				}
			}
			for f := range e {
				all.add(fate(f), "", e[f])
			}
		}
	}
	if !sure || len(found) == 0 {
		all.add(onward, "", ending{met: true})
	}
	return all, "vmap @" + set, true
}
