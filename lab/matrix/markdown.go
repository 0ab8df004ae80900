package matrix

import (
	"fmt"
	"slices"
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
	for i := 0; i < len(tables); {
		body := tables[i].body()
		kinds := []string{tables[i].Kind.String()}
		for i++; i < len(tables) && tables[i].body() == body; i++ {
			kinds = append(kinds, tables[i].Kind.String())
		}
		fmt.Fprintf(&b, "## %s\n\n%s", strings.Join(kinds, " and "), body)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

const preface = `# Strategies against model censors

<!-- Made by "go -C lab run ./cmd/b4lab matrix -o ../docs/MATRIX.md"; a test says when it is stale. -->

Each profile is a **model**: knobs set to what papers and field reports say of one kind of box, and to guesses
where they say nothing. What stands here is true of the models in package censor, which names its sources. It says
nothing of what a strategy does in any country or at any provider: that only a test on the spot tells.

A client, routers, the model, more routers, and a server that reads TCP as Linux does run in memory, in both
families; nothing is lost on the way. A strategy **breaks an allowed site** where a site that nobody blocks opens
without the strategy and does not with it. Censors that act on chance act always. A test (lab/samples_test.go)
repeats a sample of this with real clients, kernels and b4d, and where B4_MATRIX=all is set every outcome of the
profiles as they are; it finds the same.

## What opens each profile

The mildest strategies that open a blocked site and break no allowed one: those that send segments of the client's
own bytes come before those that send decoys, and of decoys those come first with which nothing breaks behind a
normaliser or a transparent proxy. A profile in italics is the one above with one guess turned around, where that makes
a difference. "passes" is where the model does not act on such a message as it is.

"hello" is a TLS ClientHello in one packet; "post-quantum" one in two packets, with the name in the first, and "name
late" with the name in the second; "http" a plain request; "quic" a hello in one datagram, or in two.

`

const legend = `
\* breaks an allowed site behind a traffic normaliser or a transparent proxy, or both (see below).

## How to read the tables

open: a blocked site opens. shut: it does not. BROKE: an allowed site does not open any more, whatever the blocked one
does. –: the model does not act on such a message, nor does the strategy make it. n/a: the strategy does not fit such
packets. ¹: not the same in IPv4 and IPv6, or fit for one of them only; the worse, or the one that fits, is shown.
What has the same outcomes throughout stands in one row, or in one column. Routers discard packets with a hop-by-hop
option that asks for it, as Linux does.

A normaliser and a transparent proxy, half way to the server, censor nothing. A normaliser puts TCP in order and looks at
no more than checksums and sequence numbers; a proxy takes what an end system takes. Both send on what they take with a
full TTL, so that a decoy is data to the server. A proxy answers in the server's name: ttl=auto counts the routers to the
proxy then, and a decoy does not get there. Behind a normaliser it counts all of them.

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
	var base string
	var same []string
	for i, p := range tables[0].Profiles {
		var line strings.Builder
		for _, t := range tables {
			fmt.Fprintf(&line, " %s |", t.best(i))
		}
		if !isVariant(p.Name) {
			base = line.String()
		} else if line.String() == base {
			same = append(same, p.Name)
			continue
		}
		fmt.Fprintf(b, "| %s |%s\n", title(p.Name), line.String())
	}
	fmt.Fprintf(b, "\nThese guesses turned around change nothing in this table: %s.\n", strings.Join(same, "; "))
}

// isVariant reports whether a profile is one with a guess turned around.
func isVariant(name string) bool { return strings.Contains(name, ": ") }

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
		return "it acts on version 1 whatever it names; TCP is left where QUIC is rejected"
	case t.Kind.Proto() == desync.QUIC:
		return "it reads every Initial of version 1, frames in any order; TCP is left where QUIC is rejected"
	case p.Fragment > 0:
		return "it acts on every hello in pieces, and joins them"
	}
	return "nothing of what is tried hides the name from it"
}

// widest is how many columns of profiles a table has at most.
const widest = 8

// body is t, profiles that nothing tells apart in one column and strategies that
// nothing tells apart in one row.
func (t *Table) body() string {
	b := new(strings.Builder)
	for cols := range slices.Chunk(t.columns(), widest) {
		b.WriteString("| strategy |")
		for _, c := range cols {
			fmt.Fprintf(b, " %s |", strings.Join(c.names, "<br>"))
		}
		b.WriteString("\n|---" + strings.Repeat("|---", len(cols)) + "|\n")
		for _, r := range t.lines(cols) {
			fmt.Fprintf(b, "| %s | %s |\n", strings.Join(r.names, "<br>"), r.text)
		}
		b.WriteString("\n")
	}
	for i, box := range boxNames {
		var broken []string
		for _, r := range t.Rows {
			if r.Behind[i] {
				broken = append(broken, "`"+r.Strategy+"`")
			}
		}
		if len(broken) > 0 {
			fmt.Fprintf(b, "Behind a %s these break an allowed site: %s.\n\n", box, strings.Join(broken, ", "))
		}
	}
	var idle []string
	for i, p := range t.Profiles {
		if !t.shows(i) && !isVariant(p.Name) {
			idle = append(idle, p.Name)
		}
	}
	fmt.Fprintf(b, "Never acting, and never broken: %s.\n\n", strings.Join(idle, ", "))
	return b.String()
}

// boxNames are the boxes of Row.Behind.
var boxNames = [...]string{"normaliser", "transparent proxy"}

// A group is what is the same in all of a table that is written of it.
type group struct {
	names []string
	text  string
	first int // the first of them in Table.Profiles
}

// add puts name into the group with that text, which may be a new one.
func add(groups []group, name, text string, at int) []group {
	for i := range groups {
		if groups[i].text == text {
			groups[i].names = append(groups[i].names, name)
			return groups
		}
	}
	return append(groups, group{[]string{name}, text, at})
}

// columns are the profiles that do anything.
func (t *Table) columns() (cols []group) {
	for i, p := range t.Profiles {
		if !t.shows(i) {
			continue
		}
		var text strings.Builder
		for _, r := range t.Rows {
			text.WriteString(r.Cells[i].text() + " ")
		}
		cols = add(cols, p.Name, text.String(), i)
	}
	return cols
}

// lines are the strategies, with what they do to the profiles of cols.
func (t *Table) lines(cols []group) (lines []group) {
	for _, r := range t.Rows {
		var cells []string
		for _, c := range cols {
			cells = append(cells, r.Cells[c.first].text())
		}
		lines = add(lines, strings.TrimSuffix(r.name(), " \\*"), strings.Join(cells, " | "), 0)
	}
	return lines
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
