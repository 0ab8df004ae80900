package main

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestQuantile(t *testing.T) {
	v := []float64{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.25: 1.75, 0.5: 2.5, 1: 4} {
		if got := quantile(v, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if !slices.Equal(v, []float64{4, 1, 3, 2}) {
		t.Error("the values were sorted in place")
	}
	if !math.IsNaN(median(nil)) || median([]float64{7}) != 7 {
		t.Error("of none and of one")
	}
}

// Turns are compared with each other, and not medians.
func TestCompare(t *testing.T) {
	plain, with := []float64{10, 100, 1000}, []float64{20, 100, 500}
	if s := compare(ratio, plain, with); s.mid != 1 || s.low != 0.5 || s.high != 2 {
		t.Errorf("ratio %+v", s)
	}
	if s := compare(difference, plain, with); s.mid != 0 || s.low != -500 {
		t.Errorf("difference %+v", s)
	}
}

// The more turns the closer is the median known: of a hundred, to ten places about it.
func TestSpread(t *testing.T) {
	var v []float64
	for i := range 101 {
		v = append(v, float64(i))
	}
	if s := spreadOf(v); s.mid != 50 || math.Round(s.low) != 40 || math.Round(s.high) != 60 {
		t.Errorf("%+v", s)
	}
}

// A target that lies between is neither met nor missed for certain.
func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		t    *target
		s    spread
		want string
	}{
		{atLeast(0.98), spread{0.9, 0.98, 1}, "met"},
		{atLeast(0.98), spread{0.9, 0.97, 0.98}, "cannot be told"},
		{atLeast(0.98), spread{0.9, 0.95, 0.97}, missed},
		{atMost(35), spread{30, 36, 40}, "cannot be told"},
		{atMost(35), spread{36, 37, 40}, missed},
	} {
		if got := tt.t.verdict(tt.s); got != tt.want {
			t.Errorf("%+v of %+v is %q, want %q", tt.s, *tt.t, got, tt.want)
		}
	}
}

func TestRelate(t *testing.T) {
	f := figures{rowConn: {plainName: {100, 200}, "nfqueue": {130, 220}, "nfqws": {160, 280}}}
	f.relate()
	if got := f[rowOfTheirs]; len(got) != 1 || !slices.Equal(got["nfqueue"], []float64{0.5, 0.25}) {
		t.Errorf("%v", got)
	}
	none := figures{rowConn: {plainName: {100}, "nfqueue": {130}}}
	if none.relate(); none[rowOfTheirs] != nil {
		t.Errorf("without nfqws: %v", none[rowOfTheirs])
	}
}

func TestTarget(t *testing.T) {
	for _, tt := range []struct {
		t    *target
		v    float64
		want bool
	}{
		{atMost(35), 35, true}, {atMost(35), 34, true}, {atMost(35), 35.1, false},
		{atLeast(0.98), 0.98, true}, {atLeast(0.98), 1.1, true}, {atLeast(0.98), 0.97, false},
		{atMost(0), 0, true}, {atMost(0), math.NaN(), false},
	} {
		if got := tt.t.met(tt.v); got != tt.want {
			t.Errorf("%v for %+v: %t", tt.v, *tt.t, got)
		}
	}
}

// sampleReport has two turns of each kind of row.
func sampleReport() *report {
	f := figures{}
	for i := range 2 {
		v := float64(1 + i)
		f.add(rowDown, plainName, v*1e9)
		f.add(rowDown, "nfqueue", v*0.5e9)
		f.add(rowConn, plainName, v*1e-4)
		f.add(rowConn, "nfqueue", v*1e-4+20e-6)
		f.add(rowConnOwn, "nfqueue", v*1e-6)
		f.add(rowGCs, "nfqueue", 0.5)
	}
	return &report{variants: []variant{{name: plainName, what: "nothing"}, {name: "nfqueue", what: "something"}}, figures: f, plan: quickPlan}
}

func TestReport(t *testing.T) {
	doc := sampleReport().markdown()
	for _, want := range []string{
		"- **nfqueue**: something\n",
		"## Download, superpackets\n\nOne connection.",
		"|  | Gbit/s | to plain | 19 of 20 | target |  |\n| --- | ---: |",
		"| plain | 12.0 |  |  |  |  |\n",
		"| nfqueue | 6.00 | 0.500 | 0.500 to 0.500 | ≥ 0.98 | **missed** |\n",
		"| nfqueue | 170 | +20.0 | +20.0 to +20.0 | ≤ +35 | met |\n",
		"| nfqueue | 1.50 |  | 1.00 to 2.00 | ≤ 30 | met |\n",
		"| nfqueue | 1.00 |  |  | ≤ 0 | **missed** |\n",
		"| Download, superpackets, of plain forwarding's | nfqueue | 0.500 |",
		"| CPU of a connection, added, µs | nfqueue | +20.0 |",
	} {
		if !strings.Contains(doc, want) {
			t.Errorf("no %q in\n%s", want, doc)
		}
	}
	if strings.Contains(doc, "Upload") {
		t.Error("what was not measured is there")
	}
}

func TestText(t *testing.T) {
	r := sampleReport()
	if text := r.text(); !strings.Contains(text, "  plain      12.0\n  nfqueue    6.00     0.500  0.500 to 0.500  ≥ 0.98  missed\n") {
		t.Errorf("%s", text)
	}
	r.ratios = true
	if text := r.text(); strings.Contains(text, "12.0") || strings.Contains(text, "35") || !strings.Contains(text, "0.500") {
		t.Errorf("ratios alone:\n%s", text)
	}
}

func TestChoose(t *testing.T) {
	all := variants("b4d")
	some, err := choose(all, "again,nfqueue")
	var names []string
	for _, v := range some {
		names = append(names, v.name)
	}
	if err != nil || strings.Join(names, " ") != "plain nfqueue again" {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := choose(all, "nothing"); err == nil {
		t.Error("a name that there is not passed")
	}
}

// What -only asks for is measured, and nothing else.
func TestStages(t *testing.T) {
	o := order{only: rowP99 + "," + rowDownCPU + segmented}
	if err := o.check(); err != nil {
		t.Error(err)
	}
	if s := stages(smallStages, o.wants); len(s) != 1 || s[0].name != "connections one by one" {
		t.Errorf("%d stages", len(s))
	}
	if s := stages(bulkStages, o.wants); len(s) != 0 {
		t.Errorf("%d stages with superpackets", len(s))
	}
	if (&order{only: "p98"}).check() == nil {
		t.Error("a row that there is not passed")
	}
}

// Each row that a stage gives is in the report, and each there comes from somewhere.
func TestRows(t *testing.T) {
	given := []string{rowWakes, rowSwitches, rowPeak}
	for _, st := range append(slices.Clone(bulkStages), smallStages...) {
		given = append(given, st.rows...)
	}
	for _, row := range slices.Concat(bulkStages[0].rows, bulkStages[1].rows) {
		given = append(given, row+segmented)
	}
	var shown []string
	for _, m := range metrics {
		shown = append(shown, m.row)
	}
	slices.Sort(given)
	slices.Sort(shown)
	if !slices.Equal(given, shown) {
		t.Errorf("given %q\nshown %q", given, shown)
	}
}
