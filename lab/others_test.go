package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/engine"
	"b4/nfq"
)

// another is a program that listens on a netfilter queue.
type another struct{}

func (another) Send(outs []engine.Out) (int, error)                            { return len(outs), nil }
func (another) Handle(time.Time, *engine.Packet, *engine.Batch) engine.Verdict { return engine.Accept }
func (another) Tick(time.Time, *engine.Batch) time.Duration                    { return time.Minute }
func (another) Drain(*engine.Batch)                                            {}

// listens serves a queue of the router until stop.
func listens(t *testing.T, l *Lab, num uint16) (stop func()) {
	t.Helper()
	e := nfq.New(nfq.Config{Num: num, Len: 16, Send: another{}, Report: func(error) {}})
	must(t, l.Router.Do(e.Start))
	ended := make(chan error, 1)
	go func() { ended <- e.Run(another{}) }()
	return func() {
		t.Helper()
		if err := errors.Join(e.Close(), <-ended); err != nil {
			t.Error(err)
		}
	}
}

// says asks that b4d finds what has the given codes. It may have no engine.
func says(d *B4D, found *[]Finding, codes ...string) error {
	out, err := d.Ask("status", "-json")
	if err != nil {
		return err
	}
	var s Status
	if err := json.Unmarshal(out, &s); err != nil {
		return err
	}
	var got []string
	for _, f := range s.Health {
		got = append(got, f.Code)
	}
	if *found = s.Health; !slices.Equal(got, codes) {
		return fmt.Errorf("it says %+v", s.Health)
	}
	return nil
}

// b4d, with all its bonds, sees who else takes packets, and when that is over. Where
// the other one has b4d's queue, b4d waits for it.
func TestOtherProgram(t *testing.T) {
	t.Parallel()
	comm, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	l := build(t, Options{})
	var found []Finding
	named := func(queue string) {
		t.Helper()
		// Only a process's first netlink socket of netfilter's has the number of the process.
		args := found[len(found)-1].Args
		if name := args[0]; name != "?" && name != strings.TrimSpace(string(comm)) || args[1] != queue {
			t.Errorf("it is %q", args)
		}
	}
	stop := listens(t, l, 537)
	path, err := program()
	must(t, err)
	d, err := l.launch(path, configure("nfqueue"))
	must(t, err)
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "b4d waits for its queue", func() error { return says(d, &found, "failing", "no_engine", "other_program") })
	named("537")
	stop()
	eventually(t, "b4d goes on", func() error { return says(d, &found) })
	stop = listens(t, l, 200)
	must(t, says(d, &found, "other_program"))
	named("200")
	stop()
	must(t, says(d, &found))
}
