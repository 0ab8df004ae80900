package lab

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Chaos is b4d killed at random moments while connections are opened and used.
type Chaos struct {
	B4D    string // path of the program
	Engine string
	Kills  int    // at least
	Seed   uint64 // of the moments
}

// A ChaosReport is what became of the connections. Problems says all that is not
// as promised, and is empty where all is.
//
// What is promised is that b4d's end costs no connection more than one
// retransmission timeout. That is looked at in each connection, packet by packet,
// on both sides of the router: what entered it and did not leave it was lost, and
// a timeout is the time that passed until it was sent again, where that is as long
// as TCP's shortest one. The client's own stack counts timeouts too (TCP_INFO);
// where one ran out though nothing was lost, the machine was too busy for us, and
// that is counted by itself. QUIC's packets tell nothing to who looks on, and its
// probes are sent after a few milliseconds here; what one lost Initial costs where
// the distance is not known yet (RFC 9002 section 6.2.2, one second), with what others
// took meanwhile that lost nothing, must do for the whole exchange, unless a timer ran
// out of one of these: the machine was too busy. And where a killed process
// takes longer to end than the first timeout lasts, so busy is the machine, what is
// sent again is lost as well: such kills are counted too, and there are more kills
// until half as many as were asked for have been timely.
type ChaosReport struct {
	Engine      string
	Seed        uint64
	Kills       int
	Starting    int            // of them before b4d served
	Connections map[string]int // by protocol and hello
	Failed      int
	Hit         int            // connections of which something was lost
	Timeouts    [3]int         // connections of TCP by the timeouts they had for what was lost: none, one, more
	Slow        int            // connections of TCP with timeouts of which nothing was lost
	Worst       time.Duration  // the longest connection
	Files       int            // descriptors of the first b4d, and of each
	Router      map[string]int // what the router had with the first one, and with each: tables, devices, rules, routes
	Left        int            // starts with more or less than that
	Took        time.Duration
	Problems    []string

	start time.Time
	late  []stretch // in which a killed b4d had not ended yet when the first timeouts did
}

// stretch is a time.
type stretch struct{ from, to time.Time }

func (s stretch) meets(o stretch) bool { return s.from.Before(o.to) && o.from.Before(s.to) }

// Chaos takes the path's filter.
func (l *Lab) Chaos(c Chaos) (*ChaosReport, error) {
	r := &ChaosReport{Engine: c.Engine, Seed: c.Seed, Connections: map[string]int{}}
	r.start = time.Now()
	ref, err := l.reference(c)
	if err != nil {
		return nil, err
	}
	r.Files, r.Router = ref.files, map[string]int{}
	for _, s := range ref.with {
		kind, _, _ := strings.Cut(s, " ")
		r.Router[kind]++
	}
	seen, err := l.watchFlows()
	if err != nil {
		return nil, err
	}
	const size = 32 << 20
	bulk := startLoad(l, size)
	crowd := startCrowd(l, chaosRequests(c.Engine), seen)
	rnd := rand.New(rand.NewPCG(c.Seed, 0))
	for r.Kills < c.Kills || !r.tells(c) && time.Since(r.start) < moreKills {
		r.Kills++
		if err = l.kill(c, ref, rnd, crowd, r); err != nil {
			break
		}
		bulk.allow(int64(min(r.Kills, c.Kills)) * size / int64(c.Kills+1)) // the last part follows the last kill
	}
	r.note(bulk.wait())
	fates := crowd.stop()
	r.note(seen.close())
	r.judge(fates, seen)
	if err == nil && !r.tells(c) {
		r.note(fmt.Errorf("%d of %d kills took longer than a timeout: the machine is too busy to tell", len(r.late), r.Kills))
	}
	if err == nil {
		err = l.afterwards(c, ref, r)
	}
	r.Took = time.Since(r.start)
	return r, err
}

// moreKills is until when there are more kills, where too few were timely: the
// downloads may take a minute longer.
const moreKills = 4 * time.Minute

// tells whether enough kills were timely: half of those that were asked for.
func (r *ChaosReport) tells(c Chaos) bool { return 2*(r.Kills-len(r.late)) >= c.Kills }

func (r *ChaosReport) note(err error) {
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
}

// chaosConfig treats all that an engine sees, and sends nothing besides.
func chaosConfig(engine string) string {
	text := "config b4 'main'\n\toption enabled '1'\n\toption engine '" + engine + "'\n" +
		"\nconfig strategy 'default'\n\toption tls 'split(midsld) disorder'\n\toption http 'split(midsld) disorder'\n"
	if engine == "nfqueue" {
		text += "\toption quic 'split(midsld) disorder'\n"
	}
	return text
}

// A reference is what b4d has when it was started first, and the router with it
// and without.
type reference struct {
	without, with []string
	files         int
	start         time.Duration // that it took
}

func (l *Lab) reference(c Chaos) (ref reference, err error) {
	if ref.without, err = l.Router.State(); err != nil {
		return ref, err
	}
	begun := time.Now()
	d, err := l.StartB4D(c.B4D, chaosConfig(c.Engine))
	if err != nil {
		return ref, err
	}
	ref.start = time.Since(begun)
	// Opened once, in each family: b4d keeps nothing open for that.
	err = errors.Join(l.Open(Request{Host: Blocked}), l.Open(Request{Host: Blocked, V6: true}))
	if err == nil {
		ref.files, err = d.Files()
	}
	if err == nil {
		ref.with, err = l.Router.State()
	}
	return ref, errors.Join(err, d.Stop())
}

// Files counts the descriptors b4d has at rest, the least for a while: one for a
// request, or for a look at the devices, is there for a moment, which is longer on a
// busy machine.
func (d *B4D) Files() (int, error) {
	const steady, every = 400 * time.Millisecond, 5 * time.Millisecond
	least, err := d.filesNow()
	for since := time.Now(); err == nil && time.Since(since) < steady; {
		time.Sleep(every)
		var n int
		if n, err = d.filesNow(); n < least {
			least, since = n, time.Now()
		}
	}
	return least, err
}

func (d *B4D) filesNow() (int, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
	return len(list), err
}

// serving is how long b4d is left alone, at most, once it serves.
const serving = 200 * time.Millisecond

// kill starts b4d and kills it, half of the times before it serves. An error is
// of the lab.
func (l *Lab) kill(c Chaos, ref reference, rnd *rand.Rand, crowd *crowd, r *ChaosReport) error {
	d, err := l.launch(c.B4D, chaosConfig(c.Engine))
	if err != nil {
		return err
	}
	if rnd.IntN(2) == 0 {
		r.Starting++
		time.Sleep(time.Duration(rnd.Float64() * float64(ref.start)))
	} else {
		err := d.ready()
		if err == nil {
			err = l.same(d, ref)
		}
		if err != nil {
			r.Left++
			r.note(fmt.Errorf("b4d number %d: %w", r.Kills, err))
		}
		time.Sleep(time.Duration(rnd.Float64() * float64(serving)))
	}
	killed := time.Now()
	r.note(d.Kill())
	if d.died.Sub(killed) >= minRTO {
		r.late = append(r.late, stretch{killed, d.died})
	}
	gone := time.Now()
	for !crowd.settled(gone) && time.Since(gone) < apart {
		time.Sleep(time.Millisecond)
	}
	return nil
}

// apart is the longest time from one b4d's end to the next one's start, procd's. It
// is over when what was open at the end has closed: a connection that two ends hit
// would tell of the haste of this only.
const apart = 5 * time.Second

// initialPTO is RFC 9002's first probe timeout, three times kInitialRtt.
const initialPTO = 999 * time.Millisecond

// calm is how long b4d may take to have what it needs and no more: it answers
// before that.
const calm = 2 * time.Second

// same looks whether d has what the first b4d had, and the router too.
func (l *Lab) same(d *B4D, ref reference) error {
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		files, err := d.filesNow()
		if err != nil {
			return err
		}
		state, err := l.Router.State()
		if err != nil {
			return err
		}
		diff := Changes(renumbered(ref.with), renumbered(state))
		if files == ref.files && len(diff) == 0 {
			return nil
		}
		if time.Since(start) > calm {
			return fmt.Errorf("after a start b4d has %d open files, the first had %d; the router has another %s", files, ref.files, strings.Join(diff, ", "))
		}
	}
}

// renumbered is a state in which routes do not tell the number of their device:
// each TUN has another.
func renumbered(state []string) []string {
	var out []string
	for _, s := range state {
		if before, after, found := strings.Cut(s, fmt.Sprintf(" %d:", unix.RTA_OIF)); found {
			s = before + after[len("01234567"):]
		}
		out = append(out, s)
	}
	return out
}

// judge looks at every connection.
func (r *ChaosReport) judge(fates []fate, seen *flows) {
	other := map[*flow]bool{}
	for _, f := range seen.open {
		other[f] = true
	}
	for i := range fates {
		f := &fates[i]
		if f.flow != nil {
			delete(other, f.flow)
			f.lost, f.waits = f.flow.lost(), f.flow.waits()
		}
		r.count(f)
	}
	for i := range fates {
		f := &fates[i]
		suffered := f.waits > 1 && (f.lost > 1 || f.timeouts > 1) // two segments need not come again at the same time
		if f.request.Proto == QUIC {
			suffered = f.timeouts > 0 && f.took > initialPTO+f.usual(fates) && !f.amid(fates)
		}
		if f.err != nil || suffered && !slices.ContainsFunc(r.late, f.stretch().meets) {
			r.Problems = append(r.Problems, fmt.Sprintf("%s, v6 %t, begun %v: a packet lost %d times, %d timeouts for that, %d in all, took %v, error %v", f.kind(),
				f.request.V6, f.begun.Sub(r.start).Round(time.Millisecond), f.lost, f.waits, f.timeouts, f.took.Round(time.Millisecond), f.err))
		}
	}
	for f := range other { // the long downloads
		if n := f.waits(); n > 1 && len(r.late) == 0 {
			r.Problems = append(r.Problems, fmt.Sprintf("download under way: lost packets cost it %d timeouts", n))
		}
	}
}

func (r *ChaosReport) count(f *fate) {
	r.Connections[f.kind()]++
	r.Worst = max(r.Worst, f.took)
	if f.err != nil {
		r.Failed++
	}
	if f.lost > 0 {
		r.Hit++
	}
	if f.request.Proto != QUIC {
		r.Timeouts[min(f.waits, 2)]++
	}
	if f.idle() {
		r.Slow++
	}
}

// kind is protocol and hello.
func (f *fate) kind() string {
	switch {
	case f.request.Proto == HTTP:
		return "http"
	case f.request.Upload > 0:
		return fmt.Sprintf("%v %v, upload", f.request.Proto, f.request.Hello)
	}
	return fmt.Sprintf("%v %v", f.request.Proto, f.request.Hello)
}

// idle tells of a connection whose timer ran out though nothing was lost.
func (f *fate) idle() bool { return f.request.Proto != QUIC && f.timeouts > 0 && f.waits == 0 }

// amid tells whether an idle one was open at the same time: the machine was busy.
func (f *fate) amid(fates []fate) bool {
	return slices.ContainsFunc(fates, func(o fate) bool {
		return o.idle() && o.stretch().meets(f.stretch())
	})
}

// usual is the longest time that a page took meanwhile of which nothing was lost.
func (f *fate) usual(fates []fate) (most time.Duration) {
	for i := range fates {
		o := &fates[i]
		whole := o.request.Proto != QUIC && o.request.Upload == 0 && o.err == nil && o.lost == 0
		if whole && o.stretch().meets(f.stretch()) {
			most = max(most, o.took)
		}
	}
	return most
}

func (f *fate) stretch() stretch { return stretch{f.begun, f.begun.Add(f.took)} }

// afterwards starts b4d once more, and ends it as it should.
func (l *Lab) afterwards(c Chaos, ref reference, r *ChaosReport) error {
	d, err := l.StartB4D(c.B4D, chaosConfig(c.Engine))
	if err != nil {
		return err
	}
	r.note(l.same(d, ref))
	for _, v6 := range []bool{false, true} {
		r.note(l.Open(Request{Host: Blocked, V6: v6}))
	}
	r.note(d.Stop())
	state, err := l.Router.State()
	if diff := Changes(ref.without, state); len(diff) > 0 {
		r.note(fmt.Errorf("in the end there is another %s", strings.Join(diff, ", ")))
	}
	return err
}

// String is a table.
func (r *ChaosReport) String() string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, "%-8s "+format+"\n", append([]any{r.Engine}, a...)...) }
	line("%d kills, %d of them before b4d served, in %v (seed %d)", r.Kills, r.Starting, r.Took.Round(time.Second), r.Seed)
	all := 0
	for _, what := range slices.Sorted(maps.Keys(r.Connections)) {
		line("%6d connections of %s", r.Connections[what], what)
		all += r.Connections[what]
	}
	line("%6d connections, %d failed, the longest took %v", all, r.Failed, r.Worst.Round(time.Millisecond))
	line("%6d lost a packet; timeouts: %d none, %d one, %d more; %d had one though nothing was lost", r.Hit, r.Timeouts[0], r.Timeouts[1], r.Timeouts[2], r.Slow)
	line("%6d starts found anything left; with each b4d the router had %d tables, %d devices, %d rules, %d routes, and b4d %d open files",
		r.Left, r.Router["table"], r.Router["device"], r.Router["rule"], r.Router["route"], r.Files)
	line("%6d kills took longer than a timeout: what was open then is not held against b4", len(r.late))
	line("%6d problems", len(r.Problems))
	return b.String()
}

func linkIndex(name string) (int, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0, err
	}
	return link.Attrs().Index, nil
}
