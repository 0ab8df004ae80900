package main

import (
	"fmt"
	"math"
	"slices"
)

// figures are what was measured: for each row and variant a value of each turn. The
// i-th values of a row belong together, as their turns followed each other.
type figures map[string]map[string][]float64

func (f figures) add(row, variant string, v float64) {
	if f[row] == nil {
		f[row] = map[string][]float64{}
	}
	f[row][variant] = append(f[row][variant], v)
}

// relate adds what follows from others: what b4 takes of that which nfqws takes.
func (f figures) relate() {
	plain, theirs := f[rowConn][plainName], f[rowConn]["nfqws"]
	for name, ours := range f[rowConn] {
		if name == plainName || name == "nfqws" {
			continue
		}
		for i := range min(len(theirs), len(ours)) {
			f.add(rowOfTheirs, name, (ours[i]-plain[i])/(theirs[i]-plain[i]))
		}
	}
}

// How a variant's values are compared with plain forwarding's.
type comparison int

const (
	ratio comparison = iota
	difference
	alone // plain forwarding has no such thing
)

// A spread is a median, and between what the one of endless turns lies, 19 times of 20.
type spread struct{ low, mid, high float64 }

// spreadOf takes the bounds from how many of n values are below their median: half of
// them, and half the root of n more or less.
func spreadOf(v []float64) spread {
	off := 1.96 / 2 / math.Sqrt(float64(len(v)))
	return spread{quantile(v, max(0, 0.5-off)), quantile(v, 0.5), quantile(v, min(1, 0.5+off))}
}

// compare takes the values of a turn together, and then the spread.
func compare(how comparison, plain, with []float64) spread {
	v := make([]float64, min(len(plain), len(with)))
	for i := range v {
		if how == ratio {
			v[i] = with[i] / plain[i]
		} else {
			v[i] = with[i] - plain[i]
		}
	}
	return spreadOf(v)
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile is the value that the share q of v is below, between two of them where it
// falls between; NaN of nothing.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	at := q * float64(len(v)-1)
	i := int(at)
	if i == len(v)-1 {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

// short writes three digits, or all there are before the point.
func short(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return ""
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// write is a compared value as tables have it.
func (how comparison) write(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case how == ratio:
		return fmt.Sprintf("%.3f", v)
	case how == difference:
		return fmt.Sprintf("%+.1f", v)
	}
	return short(v)
}
