package daemon

import (
	"testing"
	"time"

	"b4/engine"
	"b4/fw"
	"b4/pipeline"
)

// The packet loop answers once for what it was shown within a while, and wakes for
// that. Without packets it answers so seldom that an idle b4d sleeps.
func TestAnswers(t *testing.T) {
	k := newFake(t)
	k.within, k.every = fw.AnswerWithin, fw.RenewEvery
	c := &core{kernel: k, lost: make(chan struct{}, 1)}
	if err := c.takeTable(); err != nil {
		t.Fatal(err)
	}
	if err := c.tab().Watch([]string{"wan0"}); err != nil {
		t.Fatal(err)
	}
	s, _, err := load(prepare(t, k, enabled).conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{Pipeline: pipeline.New(64, s.pipe), core: c}
	now, out := time.Now(), &engine.Batch{}
	const soon = 10 * time.Millisecond
	for _, step := range []struct {
		what    string
		after   time.Duration
		packets int
		busy    int
		gone    bool
		answers int
		wait    time.Duration
	}{
		{"it begins", 0, 0, 0, false, 1, fw.RenewEvery},
		{"nothing comes", soon, 0, 0, false, 0, fw.RenewEvery - soon},
		{"packets come", soon, 5, 0, false, 0, fw.AnswerWithin},
		{"more come", soon, 5, 0, false, 0, fw.AnswerWithin - soon},
		{"time is up", fw.AnswerWithin - soon, 0, 0, false, 1, fw.RenewEvery},
		{"one comes just ahead of the next", fw.RenewEvery - soon, 1, 0, false, 0, fw.AnswerWithin},
		{"the table is busy", fw.AnswerWithin, 0, 1, false, 0, fw.AnswerWithin},
		{"and is no more", fw.AnswerWithin, 3, 0, false, 1, fw.RenewEvery},
		{"busy, and nothing was shown", fw.RenewEvery, 0, 1, false, 0, fw.AnswerWithin},
		{"its turn then", fw.AnswerWithin, 0, 0, false, 1, fw.RenewEvery},
		{"it was away for long", time.Hour, 1, 0, false, 0, fw.AnswerWithin},
		{"the table is gone", fw.AnswerWithin, 0, 0, true, 1, fw.RenewEvery},
	} {
		k.set(func() { k.busy, k.gone = step.busy, step.gone })
		before := k.answered
		now = now.Add(step.after)
		for range step.packets {
			l.Handle(now, &engine.Packet{Bytes: []byte{0x45}}, out)
		}
		wait := l.Tick(now, out)
		if n := k.answered - before; n != step.answers || wait != step.wait {
			t.Errorf("%s: %d answers, then a wait of %v; want %d and %v", step.what, n, wait, step.answers, step.wait)
		}
		if gone := len(c.lost) > 0; gone != step.gone {
			t.Errorf("%s: told that the table is gone: %v", step.what, gone)
		}
	}
}

// What changes a device or the rules may drop packets that b4d was to see, so it
// answers at any such news, though nothing is new to it.
func TestAnswersNews(t *testing.T) {
	t.Parallel()
	for _, conf := range []string{enabled, tunEnabled} {
		k := newFake(t)
		k.every = time.Hour
		r := start(t, k, conf)
		for _, tell := range []func(){func() { r.tell(func() {}) }, func() { r.fwNews <- struct{}{} }} {
			before := get(r.fake, func() int { return r.answered })
			tell()
			r.eventually("an answer", func() bool { return get(r.fake, func() bool { return r.answered > before }) })
		}
	}
}
