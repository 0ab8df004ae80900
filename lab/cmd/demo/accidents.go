package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"b4/censor"
	"b4/lab"
)

// accidents shows what happens to the internet when b4d dies, hangs and leaves.
func (d *demo) accidents(engine string) {
	for _, a := range []struct {
		what string
		show func(*lab.B4D) error
	}{
		{"SIGKILL during a download: it ends well, nothing is left, connections work", d.killed},
		{"SIGSTOP: new connections work again in time; SIGCONT: blocked sites open again", d.stopped},
		{"SIGTERM: nothing is left, and b4d has executed no program", func(b *lab.B4D) error { return b.Stop() }},
	} {
		b, err := d.start(engine)
		if err == nil {
			err = d.end(b, a.show(b))
		}
		d.check(fmt.Sprintf("%-7s %s", engine, a.what), err)
	}
}

// killed kills b4d when a fourth of a download has come.
func (d *demo) killed(b *lab.B4D) error {
	var gone error
	hit := false
	r := lab.Request{Host: lab.Blocked, Timeout: time.Minute, Path: fmt.Sprintf("/bytes?n=%d", d.size)}
	r.Pace = func(n int64) {
		if !hit && n > d.size/4 {
			hit, gone = true, b.Kill()
		}
	}
	res, err := d.lab.Get(r)
	switch {
	case err != nil:
		return errors.Join(fmt.Errorf("download: %w", err), gone, b.Kill())
	case res.Sum != lab.SumOf(d.size):
		return errors.Join(errors.New("the download is not intact"), gone)
	case gone != nil:
		return gone
	}
	return errors.Join(d.lab.Open(lab.Request{Host: lab.Allowed}), d.lab.Open(lab.Request{Host: lab.Allowed, V6: true}))
}

// wedgeLimit is how long a b4d that hangs may keep new connections from working.
const wedgeLimit = 4 * time.Second

// stopped stops b4d's process, then lets it go on, then ends it.
func (d *demo) stopped(b *lab.B4D) error {
	profile, err := censor.Lookup("gfw-2022")
	if err != nil {
		return err
	}
	opens := func(v6 bool) error { return d.lab.CheckOpen(profile, lab.Request{Host: lab.Blocked, V6: v6}) }
	if err := errors.Join(opens(false), opens(true), b.Freeze()); err != nil {
		return errors.Join(err, b.Kill())
	}
	err = d.within("with b4d stopped", func(timeout time.Duration) error {
		return d.lab.Open(lab.Request{Host: lab.Allowed, Timeout: timeout})
	})
	for i := 0; i < 10 && err == nil; i++ { // and now without any delay
		err = d.lab.Open(lab.Request{Host: lab.Allowed, V6: i%2 == 1, Timeout: d.stretch(time.Second)})
	}
	err = errors.Join(err, b.Signal(syscall.SIGCONT))
	if err == nil {
		err = d.within("after SIGCONT", func(time.Duration) error { return errors.Join(opens(false), opens(true)) })
	}
	return errors.Join(err, b.Stop())
}

// stretch is a time that something may take, on this machine. A handshake alone
// takes seconds on an emulated one that shares its processor with others.
func (d *demo) stretch(t time.Duration) time.Duration {
	if d.small {
		return 8 * t
	}
	return t
}

// within tries again and again until it works, for at most wedgeLimit.
func (d *demo) within(when string, try func(timeout time.Duration) error) error {
	limit := d.stretch(wedgeLimit)
	start := time.Now()
	for {
		err := try(d.stretch(wedgeLimit / 8))
		took := time.Since(start)
		switch {
		case took > limit:
			return errors.Join(fmt.Errorf("%s: nothing worked for %v", when, took.Round(time.Millisecond)), err)
		case err == nil:
			fmt.Printf("        %s: a new connection worked after %v\n", when, took.Round(time.Millisecond))
			return nil
		}
	}
}
