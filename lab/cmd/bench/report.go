package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// report collects the samples and shows them.
type report struct {
	engine      string
	accounts    string
	plain, with []sample
	idle        float64 // context switches per second
}

func (r *report) add(s sample, with bool) {
	if with {
		r.with = append(r.with, s)
	} else {
		r.plain = append(r.plain, s)
	}
}

// How plain forwarding and b4 are compared.
type comparison int

const (
	ratio comparison = iota
	difference
	alone // plain forwarding has no such thing
)

// A metric is one row of the table.
type metric struct {
	what, unit string
	scale      float64 // from the sample's unit to that one
	of         func(*sample) float64
	how        comparison
	target     string
}

var metrics = []metric{
	{"bulk download, one connection", "Gbit/s", 8e-9, func(s *sample) float64 { return s.bulk }, ratio, "≥ 0.98"},
	{"CPU of a bulk download", "s/GB", 1, func(s *sample) float64 { return s.bulkCPU }, ratio, "≤ 1.02"},
	{"connections, 16 clients, no cryptography", "1/s", 1, func(s *sample) float64 { return s.rate }, ratio, "≥ 0.75"},
	{"CPU of such a connection", "µs", 1e6, func(s *sample) float64 { return s.connCPU }, difference, "≤ +35"},
	{"of which in b4d's process", "µs", 1e6, func(s *sample) float64 { return s.ownConn }, alone, "≤ 30"},
	{"TLS 1.3 connections, 16 clients", "1/s", 1, func(s *sample) float64 { return s.tls }, ratio, "≥ 0.75"},
	{"packets of such a connection in b4d", "", 1, func(s *sample) float64 { return s.steered }, alone, "≤ 4"},
	{"connect, hello, answer: p50", "µs", 1e6, func(s *sample) float64 { return s.p50 }, difference, "≤ +40"},
	{"connect, hello, answer: p99", "µs", 1e6, func(s *sample) float64 { return s.p99 }, difference, "≤ +500"},
	{"b4d's CPU per packet it sees", "µs", 1e6, func(s *sample) float64 { return s.ownPacket }, alone, ""},
	{"b4d's peak memory (RSS)", "MB", 1e-6, func(s *sample) float64 { return s.peakMemory }, alone, "≤ 10"},
}

// rows are the table: what, plain, b4, compared, target.
func (r *report) rows() [][5]string {
	var rows [][5]string
	for _, m := range metrics {
		what := m.what
		if m.unit != "" {
			what += ", " + m.unit
		}
		plain, with, compared := r.compare(m)
		row := [5]string{what, "", short(with), "", m.target}
		switch m.how {
		case ratio:
			row[1], row[3] = short(plain), fmt.Sprintf("%.3f", compared)
		case difference:
			row[1], row[3] = short(plain), fmt.Sprintf("%+.1f", compared)
		}
		rows = append(rows, row)
	}
	var user, packets float64
	for _, s := range r.with { // a round has too few clock ticks for a median
		user, packets = user+s.user, packets+s.packets
	}
	return append(rows,
		[5]string{"b4d's user time per packet, mean, µs", "", short(user / packets * 1e6), "", "≤ 1.0"},
		// Two ticks a second, and three switches for each: see package wait.
		[5]string{"context switches of an idle b4d, 1/s", "", short(r.idle), "", "≤ 6"})
}

// compare takes the medians. Ratios and differences are those within a round.
func (r *report) compare(m metric) (plain, with, compared float64) {
	var ps, ws, cs []float64
	for i := range r.with {
		p, w := m.of(&r.plain[i])*m.scale, m.of(&r.with[i])*m.scale
		c := w - p
		if m.how == ratio {
			c = w / p
		}
		ps, ws, cs = append(ps, p), append(ws, w), append(cs, c)
	}
	return median(ps), median(ws), median(cs)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// short writes three digits, or all there are before the point.
func short(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// head says where and how it was measured.
func (r *report) head() []string {
	return []string{
		fmt.Sprintf("Engine %s; Linux %s, %s, %d CPUs, IPv4 behind masquerading; medians of %d rounds.",
			r.engine, release(), processor(), runtime.NumCPU(), len(r.with)),
		r.accounts + ".",
	}
}

var columns = [5]string{"what", "plain", "b4", "ratio or +", "target"}

func (r *report) text() string {
	var b strings.Builder
	for _, line := range r.head() {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintln(&b)
	for _, row := range append([][5]string{columns}, r.rows()...) {
		fmt.Fprintf(&b, "%-50s %10s %10s %12s  %s\n", row[0], row[1], row[2], row[3], row[4])
	}
	return b.String()
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", strings.Join(r.head(), " "))
	for i, row := range append([][5]string{columns}, r.rows()...) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row[:], " | "))
		if i == 0 {
			fmt.Fprintln(&b, "| --- | ---: | ---: | ---: | --- |")
		}
	}
	return b.String()
}
