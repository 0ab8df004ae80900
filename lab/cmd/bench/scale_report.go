package main

import (
	"cmp"
	"fmt"
	"slices"
)

// scaleColumns are the head of rows.
var scaleColumns = [7]string{"engine", "concurrent flows", "names in a list",
	"b4d's CPU per connection, µs", "whole path's CPU per connection, µs", "peak RSS, MB", "target"}

// rows are the medians, a point each: plain forwarding first, then each engine.
func (s *scaling) rows() [][7]string {
	var points []point
	for at := range s.costs {
		points = append(points, at)
	}
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.engine, b.engine), cmp.Compare(a.names, b.names), cmp.Compare(a.flows, b.flows))
	})
	var rows [][7]string
	for _, at := range points {
		of := func(f func(c pointCost) float64) float64 {
			var v []float64
			for _, c := range s.costs[at] {
				v = append(v, f(c))
			}
			return median(v)
		}
		row := [7]string{cmp.Or(at.engine, "plain"), fmt.Sprint(at.flows), fmt.Sprint(at.names), "",
			short(1e6 * of(func(c pointCost) float64 { return c.all })), "", ""}
		if at.engine != "" {
			row[3] = short(1e6 * of(func(c pointCost) float64 { return c.own }))
			row[5] = short(1e-6 * of(func(c pointCost) float64 { return c.peak }))
			row[6] = fmt.Sprintf("≤ %d MB", peakTargets[at.names])
		}
		rows = append(rows, row)
	}
	return rows
}

// peakTargets are what b4 aims at, in MB, by the names in a list.
var peakTargets = map[int]int{0: 10, 100_000: 14, 500_000: 25}
