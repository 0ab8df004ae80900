package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// overloaded: of so many connections to blocked sites one may be seen by the
// censor. What b4d has no time for goes on untouched: one of 700 did, right after a
// burst, on a machine with nine times as much to do as it can.
const overloaded = 100

const format = "%-9s %8s %8s %8s  %6s %6s %6s  %6s %6s %6s  %8s %8s %8s\n"

// tell prints everything, and reports whether b4 has cost nothing.
func (s *soak) tell() bool {
	fmt.Printf("\n%d cables pulled, %d sessions ended for %v; %d reloads, %d kills\n",
		s.counts[pull], s.counts[hangUp], away, s.counts[reload], s.counts[kill])
	fmt.Printf("each house: one of %d packets lost each way; %d connections begun within", int(1/line.Loss), burstSize)
	for _, h := range s.houses() {
		slices.Sort(h.report.Bursts)
		fmt.Printf(" %v", h.report.Bursts[len(h.report.Bursts)/2].Round(time.Millisecond))
	}
	fmt.Printf(" (median of %d bursts)\n\n", len(s.plain.report.Bursts))
	fmt.Printf(format, "", "asked", "", "", "failed", "", "", "again", "", "", "p99 ms", "", "")
	fmt.Printf(format, "kind", "plain", "killed", "kept", "plain", "killed", "kept", "plain", "killed", "kept", "plain", "killed", "kept")
	total := map[*house]int{}
	s.row(burstKind, total)
	for _, k := range traffic {
		s.row(k.name, total)
	}
	fmt.Printf("failed: what did not come in %d tries. again: further tries, but for those of connections that met\n", tries)
	fmt.Printf("the end of a session, that began without a cable, or to a blocked site while b4d or WAN was not there\n")
	fmt.Printf("(of %d blocked, one may need another try: what b4d has no time for goes on untouched)\n\n", overloaded)
	for _, h := range []*house{s.killed, s.kept} {
		if total[h] > total[s.plain] {
			s.lost = append(s.lost, fmt.Sprintf("%s: %d faults, without b4 %d", h.name, total[h], total[s.plain]))
		}
	}
	s.grows()
	for _, l := range s.lost {
		fmt.Println("  LOSS ", strings.ReplaceAll(l, "\n", "\n        "))
	}
	if len(s.lost) == 0 {
		fmt.Println("soak: nothing failed that works without b4")
	}
	return len(s.lost) == 0
}

// row prints one kind of traffic, and adds each house's faults.
func (s *soak) row(name string, total map[*house]int) {
	var columns [4][]any
	for _, h := range s.houses() {
		t := h.report.Kinds[name]
		if t == nil {
			for i := range columns {
				columns[i] = append(columns[i], "-")
			}
			continue
		}
		failed, again := s.faults(h, name)
		total[h] += failed
		if name != blockedKind || again > t.N/overloaded {
			total[h] += again
		}
		for i, n := range []int{t.N, failed, again, int(t.P99.Milliseconds())} {
			columns[i] = append(columns[i], fmt.Sprint(n))
		}
	}
	fmt.Printf(format, append([]any{name}, slices.Concat(columns[:]...)...)...)
}

// faults counts what failed in a house of one kind of traffic, and what was
// tried again for no reason that would do without b4. It prints the first of them.
func (s *soak) faults(h *house, name string) (failed, again int) {
	const shown = 10
	for _, t := range h.report.Failed {
		excused := touches(h.hungUp, t) || t.Unreached && touches(h.pulled, t) || name == blockedKind && touches(h.shut, t)
		switch {
		case t.Kind != name || excused && !t.Last:
			continue
		case t.Last:
			failed++
		default:
			again++
		}
		if failed+again <= shown {
			fmt.Printf("  %s, %s, from %v to %v: %s\n", h.name, name,
				t.Begun.Sub(s.start).Round(time.Millisecond), t.Ended.Sub(s.start).Round(time.Millisecond), t.Why)
		}
	}
	return failed, again
}

// grown is by how much the least memory of b4d in the last third of the time may
// be more than in the second: what the runtime keeps for a while comes and goes.
const grown = 2 << 20

// grows holds the b4d that goes on to its size.
func (s *soak) grows() {
	least := func(from, to time.Duration) (n int64) {
		for _, x := range s.kept.samples {
			if x.at >= from && x.at < to && (n == 0 || x.rss < n) {
				n = x.rss
			}
		}
		return n
	}
	early, late := least(s.length/3, 2*s.length/3), least(2*s.length/3, s.length)
	var most int64
	for _, x := range s.kept.samples {
		most = max(most, x.rss)
	}
	fmt.Printf("b4d that goes on: at least %.1f MiB in the second third of the time, %.1f MiB in the last, at most %.1f MiB; open files %v\n",
		mib(early), mib(late), mib(most), s.kept.counts)
	if early == 0 || late > early+grown {
		s.lost = append(s.lost, fmt.Sprintf("b4d grows: %.1f MiB, then %.1f MiB", mib(early), mib(late)))
	}
}
