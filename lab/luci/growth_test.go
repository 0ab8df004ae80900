package luci

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// A page that is left open for hours polls thousands of times: it must not grow.
func TestNothingGrows(t *testing.T) {
	const (
		settled, polls = 50, 200
		room           = 1 << 20 // bytes of the heap, which is counted in steps
	)
	v := visit(t, enabled)
	v.try("the blocked page", v.opens)
	for _, page := range []string{"overview", "activity", "log", "status"} {
		t.Run(page, func(t *testing.T) {
			w := *v
			w.T = t
			url := v.s.URL + Path(page)
			if page == "status" {
				if _, err := os.Stat(v.s.opts.Source + "/modules/luci-mod-status"); err != nil {
					t.Skip("the checkout of LuCI has no luci-mod-status")
				}
				url = v.s.URL + prefix + "admin/status/overview"
			}
			w.open(Desk)
			w.must(w.Go(url))
			w.must(w.call("Performance.enable", args{}, nil))
			time.Sleep(time.Second) // the first poll of LuCI's own
			w.poll(settled)
			before := w.weigh()
			w.poll(polls - settled)
			after := w.weigh()
			t.Logf("after %d polls %v, after %d %v", settled, before, polls, after)
			if after.Nodes > before.Nodes || after.Listeners > before.Listeners || after.Heap > before.Heap+room {
				t.Errorf("it grows from %v to %v", before, after)
			}
			w.clean(nil) // LuCI's own card asks more than there is
		})
	}
}

// poll makes a page do so many polls, one after the other, and no more by itself. The
// page's clock goes on by the time between two.
func (v *visitor) poll(n int) {
	v.Helper()
	v.must(v.Eval(fmt.Sprintf(`(async function(n) {
		const poll = await L.require('poll');
		poll.stop();
		if (!poll.queue.length) throw new Error('nothing is polled');
		const now = Date.now.bind(Date);
		let skew = 0;
		Date.now = () => now() + skew;
		for (; n; n--) {
			skew += 5000;
			await Promise.all(poll.queue.map(e => e.fn()));
		}
	})(%d)`, n), nil))
}

// A weight is what a page takes in the browser.
type weight struct{ Nodes, Listeners, Heap int }

// weigh counts what is left after a collection of garbage.
func (v *visitor) weigh() (w weight) {
	v.Helper()
	for range 2 { // what the first finalizes goes with the second
		v.must(v.call("HeapProfiler.collectGarbage", args{}, nil))
	}
	var r struct {
		Metrics []struct {
			Name  string
			Value float64
		}
	}
	v.must(v.call("Performance.getMetrics", args{}, &r))
	for _, m := range r.Metrics {
		switch m.Name {
		case "Nodes":
			w.Nodes = int(m.Value)
		case "JSEventListeners":
			w.Listeners = int(m.Value)
		case "JSHeapUsedSize":
			w.Heap = int(m.Value)
		}
	}
	return w
}
