package main

import (
	"fmt"
	"strings"
)

const about = `# Benchmarks

What b4 costs a router, against the same router without it, and against others.
` + "`make bench`" + ` measures it and writes this file (root, or user namespaces; some ten
minutes; a machine that has nothing else to do). ` + "`make bench QUICK=1`" + ` takes less than two
minutes and writes nothing. ` + "`build/bench -b4d build/b4d -only connections -variants nfqueue,again`" + `
measures one thing of one variant, and what nothing at all comes to.

`

const variantsHead = `
## Variants

Each has a client, a router and a server of its own, in network namespaces joined by
veth devices, and is at work all the time.

`

// markdown is the report as a document.
func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString(about)
	for _, line := range r.head() {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	b.WriteString(variantsHead)
	for _, v := range r.variants {
		fmt.Fprintf(&b, "- **%s**: %s\n", v.name, v.what)
	}
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n## %s\n\n", t.title)
		if t.means != "" {
			fmt.Fprintf(&b, "%s\n\n", t.means)
		}
		t.markdown(&b)
	}
	return b.String()
}

func (t *table) markdown(b *strings.Builder) {
	for i, line := range append([][]string{t.head}, t.lines...) {
		cells := strings.Join(line, " | ")
		if strings.HasSuffix(cells, " | "+missed) {
			cells = strings.TrimSuffix(cells, missed) + "**" + missed + "**"
		}
		fmt.Fprintf(b, "| %s |\n", cells)
		if i == 0 {
			fmt.Fprintf(b, "| --- |%s\n", strings.Repeat(" ---: |", len(line)-1))
		}
	}
}
