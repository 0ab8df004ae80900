package luci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// maxFirst is how many calls a page may need until it is first painted.
const maxFirst = 3

// own are the calls that a page makes for what it shows, each once: LuCI's poll
// repeats one of them at once. Not counted are those of LuCI's runtime, which it makes for every page: session access, uci changes (the
// indicator of unsaved changes), uci get of LuCI's own file, luci getFeatures and
// file list (what the router can do, once a session).
func own(calls []Call) (list []Call) {
	for _, c := range calls {
		if c.Object == "luci.b4" || c.Object == "luci-rpc" || c.Object == "log" || c.Object == "network.interface" ||
			c.Object == "uci" && c.Method == "get" && !strings.Contains(c.Args, `"config":"luci"`) {
			if !slices.ContainsFunc(list, func(o Call) bool { return o.String() == c.String() }) {
				list = append(list, c)
			}
		}
	}
	return list
}

// The pages need few calls to be painted, and few to stay up to date.
func TestCalls(t *testing.T) {
	v := visit(t, enabled)
	v.s.Calls()
	for _, page := range Pages {
		v.see(page)
		calls := own(v.s.Calls())
		t.Logf("%s: %v", page, calls)
		if len(calls) > maxFirst {
			t.Errorf("%s: %d calls for its first paint, want at most %d", page, len(calls), maxFirst)
		}
		v.clean(nil)
	}
}

// The overview asks one thing at each poll, and that costs b4d little.
func TestPolling(t *testing.T) {
	const seconds, interval = 21, 5
	v := visit(t, enabled)
	v.try("the blocked page", v.opens)
	idle := v.cpu(seconds)
	v.see("overview")
	v.s.Calls()
	v.try("it does not poll", func() error { // by then all that belongs to the first paint is there
		if !slices.ContainsFunc(v.s.Calls(), func(c Call) bool { return c.Method == "status" }) {
			return errors.New("no call of status")
		}
		return nil
	})
	polled := v.cpu(seconds)
	calls := v.s.Calls()
	t.Logf("%d calls in %d s; b4d computed %v, and %v without the page", len(calls), seconds, polled, idle)
	if len(calls) == 0 || len(calls) > seconds/interval+1 {
		t.Errorf("%d calls in %d s, want one each %d s: %v", len(calls), seconds, interval, calls)
	}
	v.clean(calls)
}

// cpu is how long b4d computes in so many seconds.
func (v *visitor) cpu(seconds int) time.Duration {
	v.Helper()
	before := v.computed()
	time.Sleep(time.Duration(seconds) * time.Second)
	return v.computed() - before
}

// computed is how long b4d has computed so far, in the kernel too.
func (v *visitor) computed() (all time.Duration) {
	v.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", v.s.service.PID()))
	v.must(err)
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		v.must(err)
		on, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(on, 10, 64)
		v.must(err)
		all += time.Duration(n)
	}
	return all
}
