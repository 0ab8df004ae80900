package matrix

import "b4/desync"

// A Sample is a try and what has become of it in memory.
type Sample struct {
	Try
	Outcome Outcome
	Breaks  [2]bool // an allowed site behind a normaliser, behind a transparent proxy
}

// Samples picks what is worth repeating on a real stack: for each profile,
// guesses left alone, the mildest strategy that opens it, the first that does not
// and the first that breaks an allowed site. The path must have as many routers
// ahead of the censor as its profile says, and a decoy with ttl=auto must die
// behind the censor.
func (t *Table) Samples() []Sample {
	var out []Sample
	for i, p := range t.Profiles {
		if isVariant(p.Name) {
			continue
		}
		var rows []Row
		if best, _ := t.Best(i); len(best) > 0 {
			rows = append(rows, best[0])
		}
		for _, o := range []Outcome{Shut, Broke} {
			rows = append(rows, t.first(i, o)...)
		}
		for _, r := range rows {
			out = append(out, Sample{Try{p, r.Strategy, t.Kind, false}, r.Cells[i].Outcome, r.Behind})
		}
	}
	return out
}

// first is the first strategy that does o to profile i, if any: not the absence
// of one.
func (t *Table) first(i int, o Outcome) []Row {
	for _, r := range t.Rows {
		if r.Cells[i].Outcome == o && !r.Cells[i].Differs && r.Harm != desync.Nothing {
			return []Row{r}
		}
	}
	return nil
}

// Everything is all of t as samples, guesses turned around and what does not
// change a thing left out.
func (t *Table) Everything() []Sample {
	var out []Sample
	for i, p := range t.Profiles {
		if isVariant(p.Name) {
			continue
		}
		for _, r := range t.Rows[1:] {
			if o := r.Cells[i].Outcome; o != Free {
				out = append(out, Sample{Try{p, r.Strategy, t.Kind, false}, o, r.Behind})
			}
		}
	}
	return out
}
