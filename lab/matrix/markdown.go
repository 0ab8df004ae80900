package matrix

import (
	"fmt"
	"strings"

	"b4/desync"
)

// Markdown writes the matrix, one table a kind, as the document that
// docs/MATRIX.md is.
func Markdown(tables []*Table) string {
	var b strings.Builder
	b.WriteString(preface)
	writeBest(&b, tables)
	b.WriteString(legend)
	for _, t := range tables {
		t.write(&b)
	}
	return b.String()
}

const preface = `# Strategies against model censors

<!-- Made by "b4lab matrix"; a test says when it is stale. -->

Each profile is a **model**: knobs set to what papers and field reports say of one kind of box, and to guesses
where they say nothing. What stands here is true of the models in package censor, which names its sources. It says
nothing of what a strategy does in any country or at any provider: that only a test on the spot tells.

A client, routers, the model, more routers, and a server that reads TCP as Linux does run in memory, in both
families; nothing is lost on the way. A strategy **breaks an allowed site** where a site that nobody blocks opens
without the strategy and does not with it. Censors that act on chance act always.

## What opens each profile

The mildest strategies that open a blocked site and break no allowed one: those that send segments of the client's
own bytes come before those that send decoys, and of decoys those come first with which nothing breaks behind a
normaliser or a transparent proxy. A profile in italics is the one above with one guess turned around. "passes" is where the
model does not act on such a message as it is.

`

const legend = `
\* breaks an allowed site behind a traffic normaliser or a transparent proxy, or both (see below).

## How to read the tables

open: a blocked site opens. shut: it does not. BROKE: an allowed site does not open any more, whatever the blocked one
does. –: the model does not act on such a message, nor does the strategy make it. n/a: the strategy does not fit such
packets. ¹: not the same in IPv4 and IPv6, or fit for one of them only; the worse, or the one that fits, is shown.

The columns "normaliser" and "proxy" are boxes half way that censor nothing. A normaliser puts TCP in order and looks
at no more than checksums and sequence numbers; a transparent proxy takes what an end system takes. Both send on what
they take with a full TTL, so that a decoy is data to the server. A proxy answers in the server's name: ttl=auto counts
the routers to the proxy then, and a decoy does not get there. Behind a normaliser it counts all of them.

The numbers in the models come from IMC'21 and IMC'22 (tspu-*), FOCI'26 (tspu-quic25), WWW'21 and USENIX Security'24
and '25 and IEEE S&P'25 (gfw-*), FOCI'20 (iran-2020), WWW'23 (tm-2023), the Geneva project, 2021 (in-airtel), OONI'24
(kz), and field reports where no paper has them. full and http-* are nobody's in particular.

`

// most is how many strategies the first table names for a profile and a kind.
const most = 2

func writeBest(b *strings.Builder, tables []*Table) {
	b.WriteString("| profile |")
	for _, t := range tables {
		fmt.Fprintf(b, " %v |", t.Kind)
	}
	b.WriteString("\n|---" + strings.Repeat("|---", len(tables)) + "|\n")
	for i, p := range tables[0].Profiles {
		fmt.Fprintf(b, "| %s |", title(p.Name))
		for _, t := range tables {
			fmt.Fprintf(b, " %s |", t.best(i))
		}
		b.WriteString("\n")
	}
}

// title is a profile's name; a variant's is in italics.
func title(name string) string {
	if _, variant, ok := strings.Cut(name, ": "); ok {
		return "*– " + variant + "*"
	}
	return "**" + name + "**"
}

// Best returns the strategies that open profile i and break nothing, mildest
// first, and whether the profile acts on t's messages at all.
func (t *Table) Best(i int) (rows []Row, acts bool) {
	if t.Rows[0].Cells[i].Outcome == Free {
		return nil, false
	}
	for boxes := range len(Row{}.Behind) + 1 {
		for h := desync.Nothing; h <= desync.Decoys; h++ {
			for _, r := range t.Rows {
				if r.Harm == h && r.breaks() == boxes && r.Cells[i].Outcome == Opened {
					rows = append(rows, r)
				}
			}
		}
	}
	return rows, true
}

// breaks is behind how many of the boxes the strategy breaks an allowed site.
func (r *Row) breaks() (n int) {
	for _, b := range r.Behind {
		if b {
			n++
		}
	}
	return n
}

func (t *Table) best(i int) string {
	rows, acts := t.Best(i)
	if !acts {
		return "passes"
	}
	if len(rows) == 0 {
		return "**none known**: " + t.why(i)
	}
	var names []string
	for _, r := range rows[:min(most, len(rows))] {
		names = append(names, r.name())
	}
	return strings.Join(names, "<br>")
}

// name is the strategy with a star if it breaks something behind an inline box.
func (r *Row) name() string {
	if r.Strategy == "" {
		return "none"
	}
	star := ""
	if r.breaks() > 0 {
		star = " \\*"
	}
	return "`" + r.Strategy + "`" + star
}

// why tells why nothing opens profile i.
func (t *Table) why(i int) string {
	p := &t.Profiles[i]
	switch {
	case t.Kind.Proto() == desync.QUIC && p.AllowList:
		return "it acts on addresses, and is not known to let go QUIC that says an allowed name; TCP is left where QUIC is rejected"
	case p.AllowList:
		return "it acts on addresses, and lets go what says an allowed name in a hello"
	case t.Kind.Proto() == desync.QUIC && p.QUIC.All:
		return "it looks at no name; TCP is left where QUIC is rejected"
	case t.Kind.Proto() == desync.QUIC:
		return "it reads every Initial of version 1, frames in any order; TCP is left where QUIC is rejected"
	case p.Fragment > 0:
		return "it acts on every hello in pieces, and joins them"
	}
	return "nothing of what is tried hides the name from it"
}

func (t *Table) write(b *strings.Builder) {
	fmt.Fprintf(b, "## %s\n\n", t.Kind)
	var acting []int
	var idle []string
	for i, p := range t.Profiles {
		if t.shows(i) {
			acting = append(acting, i)
		} else {
			idle = append(idle, p.Name)
		}
	}
	b.WriteString("| strategy | harm | normaliser | proxy |")
	for _, i := range acting {
		fmt.Fprintf(b, " %s |", t.Profiles[i].Name)
	}
	b.WriteString("\n|---|---|---|---" + strings.Repeat("|---", len(acting)) + "|\n")
	for _, r := range t.Rows {
		fmt.Fprintf(b, "| %s | %v | %s | %s |", strings.TrimSuffix(r.name(), " \\*"), r.Harm, behind(r.Behind[0]), behind(r.Behind[1]))
		for _, i := range acting {
			b.WriteString(" " + r.Cells[i].text() + " |")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "\nNever acting, and never broken: %s.\n\n", strings.Join(idle, ", "))
}

// shows reports whether profile i does anything to t's messages.
func (t *Table) shows(i int) bool {
	for _, r := range t.Rows {
		if o := r.Cells[i].Outcome; o != Free && o != Unfit {
			return true
		}
	}
	return false
}

func (c Cell) text() string {
	if c.Differs {
		return c.Outcome.String() + " ¹"
	}
	return c.Outcome.String()
}

func behind(broken bool) string {
	if broken {
		return "BROKE"
	}
	return "fine"
}
