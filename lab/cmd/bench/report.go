package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
)

// report shows figures.
type report struct {
	variants []variant
	figures  figures
	plan     plan
	others   []float64 // see bench
	notes    []string
	ratios   bool        // only what is compared is of any worth
	scales   [][7]string // how costs grow
}

// A table has a head, and lines of as many cells.
type table struct {
	title, means string
	head         []string
	lines        [][]string
}

// columns are those of a metric's table.
var columns = []string{"", "value", "to plain", "19 of 20", "target", ""}

// tables are a summary, and one for each metric that was measured.
func (r *report) tables() (all []table) {
	for i := range metrics {
		m := &metrics[i]
		t := table{title: m.what, means: m.means, head: slices.Clone(columns)}
		if m.unit != "" {
			t.head[1] = m.unit
		}
		for _, v := range r.variants {
			if line := r.line(m, v.name); line != nil {
				t.lines = append(t.lines, line)
			}
		}
		if len(t.lines) > 0 {
			all = append(all, t)
		}
	}
	if len(r.scales) > 0 {
		t := table{title: "Scales", means: scaleMeans, head: scaleColumns[:]}
		for _, row := range r.scales {
			t.lines = append(t.lines, row[:])
		}
		all = append(all, t)
	}
	if s := r.summary(); len(s.lines) > 0 && !r.ratios {
		all = append([]table{s}, all...)
	}
	return all
}

const scaleMeans = "What a connection costs beside so many others that have said their hello, and with a list of so many names."

// summary is all that has a target.
func (r *report) summary() table {
	t := table{title: "Targets", head: []string{"", "variant", "measured", "19 of 20", "target", ""}}
	for i := range metrics {
		m := &metrics[i]
		for _, v := range r.variants {
			line := r.line(m, v.name)
			if line == nil || m.targets[v.name] == nil {
				continue
			}
			measured := line[2]
			if m.how == alone {
				measured = line[1]
			}
			what := m.what
			if m.how == difference {
				what += ", added"
			}
			if m.how == ratio {
				what += ", of plain forwarding's"
			} else if m.unit != "" {
				what += ", " + m.unit
			}
			t.lines = append(t.lines, []string{what, v.name, measured, line[3], line[4], line[5]})
		}
	}
	return t
}

// line is what a variant gave for a metric; nil if it was not measured.
func (r *report) line(m *metric, name string) []string {
	scaled := func(name string) []float64 {
		v := slices.Clone(r.figures[m.row][name])
		for i := range v {
			v[i] *= m.scale
		}
		return v
	}
	values := scaled(name)
	if len(values) == 0 || r.ratios && m.how != alone && name == plainName {
		return nil
	}
	line := []string{name, short(median(values)), "", "", "", ""}
	judged := spreadOf(values)
	if m.sum {
		total := 0.0
		for _, v := range values {
			total += v
		}
		judged = spread{total, total, total}
		line[1] = short(total)
	}
	if m.how != alone {
		if name == plainName {
			return line
		}
		judged = compare(m.how, scaled(plainName), values)
		line[2] = m.how.write(judged.mid)
	}
	if len(values) > 1 && !m.sum {
		line[3] = m.how.write(judged.low) + " to " + m.how.write(judged.high)
	}
	if r.ratios && m.how != alone {
		line[1] = ""
	}
	// Times are those of a router's processor, not of an emulated one.
	if t := m.targets[name]; t != nil && !(r.ratios && m.how != ratio && m.unit != "") {
		line[4], line[5] = t.text(m.how), t.verdict(judged)
	}
	return line
}

func (t *target) text(how comparison) string {
	sign, plus := "≥", ""
	if t.most {
		sign = "≤"
	}
	if how == difference {
		plus = "+"
	}
	return fmt.Sprintf("%s %s%v", sign, plus, t.value)
}

// verdict judges three digits behind the point, which are what is shown.
func (t *target) verdict(s spread) string {
	met := func(v float64) bool { return t.met(math.Round(v*1000) / 1000) }
	switch {
	case met(s.mid):
		return "met"
	case met(s.low) || met(s.high):
		return "cannot be told"
	}
	return missed
}

// missed is the verdict that is to be seen.
const missed = "missed"

// head says where and how it was measured.
func (r *report) head() []string {
	head := []string{
		fmt.Sprintf("Linux %s, %s, %d processors; IPv4 behind masquerading.", release(), processor(), runtime.NumCPU()),
		fmt.Sprintf("%d rounds of up to %d turns with each load (%d of bulk exchanges), which every variant has one after the other: a value is the median of a variant's turns.",
			r.plan.rounds, r.plan.slices, r.plan.bulks),
		"What is compared is a turn with plain forwarding's of the same time: the median of that, and between what it would lie in 19 of 20 such runs. A target that it misses by less cannot be told from met.",
		accountsMean,
	}
	if len(r.others) > 0 {
		head = append(head, fmt.Sprintf("Other programs took %.0f %% of the machine's time in the median round, and %.0f %% in the worst.",
			100*median(r.others), 100*slices.Max(r.others)))
	}
	return append(head, r.notes...)
}

func (r *report) text() string {
	var b strings.Builder
	for _, line := range r.head() {
		fmt.Fprintln(&b, line)
	}
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n%s\n", t.title)
		t.text(&b)
	}
	return b.String()
}

// text pads the cells of a table.
func (t *table) text(b *strings.Builder) {
	widths := make([]int, len(t.head))
	lines := append([][]string{t.head}, t.lines...)
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, line := range lines {
		var row strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				cell += pad
			} else {
				cell = pad + cell
			}
			row.WriteString("  " + cell)
		}
		fmt.Fprintln(b, strings.TrimRight(row.String(), " "))
	}
}
