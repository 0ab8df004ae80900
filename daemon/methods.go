package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"b4/control"
	"b4/engine"
	"b4/fw"
	"b4/pipeline"
)

// methods sets what the control socket serves.
func (d *Daemon) methods(s *control.Server) {
	var c collector
	s.Handle("status", typed("status", d.handleStatus))
	s.Handle("counters", typed("counters", d.handleCounters))
	s.Handle("recent", typed("recent", d.handleRecent))
	s.Handle("test_host", typed("test_host", d.handleTestHost))
	s.Handle("preview", typed("preview", handlePreview))
	s.Handle("strategies", typed("strategies", d.handleStrategies))
	s.Handle("check", typed("check", d.handleCheck))
	s.Handle("reload", typed("reload", d.handleReload))
	s.Handle("pause", typed("pause", d.handlePause))
	s.Handle("trace", typed("trace", d.handleTrace))
	s.Handle("collect", typed("collect", func(_ context.Context, q CollectRequest, _ func(any) error) (any, error) {
		return d.collect(&c, q)
	}))
}

// None is the parameter of methods that take none.
type None struct{}

// typed makes a control.Handler of one that takes parameters of its own type.
// What is not of that type, or named otherwise, is refused.
func typed[Q any](method string, h func(context.Context, Q, func(any) error) (any, error)) control.Handler {
	return func(ctx context.Context, params json.RawMessage, emit func(any) error) (any, error) {
		var q Q
		if err := decode(params, &q); err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		v, err := h(ctx, q, emit)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		return v, nil
	}
}

// decode reads parameters into v. None leave it as it is.
func decode(params json.RawMessage, v any) error {
	if len(params) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(params))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return fmt.Errorf("the parameters are of type %s: want an object", wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Errorf("parameter %s is of type %s: want %s", wrong.Field, wrong.Value, wrong.Type)
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("want one object of parameters")
	}
	return nil
}

// Counters are what the method counters returns: of a Status, what a chart
// draws. They begin at zero whenever the engine is started.
type Counters struct {
	Time    time.Time         `json:"time"`
	Engine  *engine.Counters  `json:"engine"` // null while disabled
	Kernel  fw.Counters       `json:"kernel"`
	Hellos  uint64            `json:"hellos"`
	Late    uint64            `json:"mid_stream"`
	Reasons map[string]uint64 `json:"reasons"`
}

func (d *Daemon) handleStatus(context.Context, None, func(any) error) (any, error) {
	return d.Status(), nil
}

func (d *Daemon) handleCounters(context.Context, None, func(any) error) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := Counters{Time: time.Now(), Reasons: map[string]uint64{}}
	c := d.core
	if c == nil {
		return n, nil
	}
	counted := c.engine.Counters()
	n.Engine, n.Hellos, n.Late, n.Reasons = &counted, c.pipe.Hellos(), c.pipe.MidStream(), c.pipe.Counts()
	var err error
	if n.Kernel, err = c.tab().Counters(); err != nil {
		return nil, fmt.Errorf("read the table inet b4: %w", err)
	}
	return n, nil
}

// Recent is what the method recent returns.
type Recent struct {
	Hosts []pipeline.Host `json:"hosts"` // the newest first
}

func (d *Daemon) handleRecent(context.Context, None, func(any) error) (any, error) {
	d.mu.Lock()
	c := d.core
	d.mu.Unlock()
	if c == nil {
		return Recent{Hosts: []pipeline.Host{}}, nil
	}
	d.clients.locate(d.kernel, c.pipe)
	return Recent{c.pipe.Recent()}, nil
}

// maxText bounds what check returns of its text, in bytes: a request through
// ubus carries 1 MiB.
const maxText = 128 << 10

// checking is held by the method check: a second configuration in memory is
// enough on a small router.
var checking sync.Mutex

// A CheckResult is what `b4d check` prints. Without errors, reload takes the
// file.
type CheckResult struct {
	Text   string   `json:"text"`
	Errors []string `json:"errors"` // FILE:LINE: what is wrong
}

func (d *Daemon) handleCheck(context.Context, None, func(any) error) (any, error) {
	if !checking.TryLock() {
		return nil, errors.New("another check is running")
	}
	defer checking.Unlock()
	var text strings.Builder
	r := CheckResult{Errors: []string{}}
	if err := check(d.kernel, d.opts, &text); err != nil {
		r.Errors = strings.Split(err.Error(), "\n")
	}
	if r.Text = text.String(); len(r.Text) > maxText {
		r.Text = r.Text[:maxText] + "…\n"
	}
	return r, nil
}

// Reloaded is what the method reload returns.
type Reloaded struct {
	Rules int `json:"rules"` // in force now
}

// handleReload is SIGHUP that waits for what comes of it.
func (d *Daemon) handleReload(ctx context.Context, _ None, _ func(any) error) (any, error) {
	result := make(chan error, 1)
	select {
	case d.reloads <- result:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case err := <-result:
		if err != nil {
			return nil, fmt.Errorf("refused, the old configuration stays: %w", err)
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return Reloaded{len(d.set.pipe.Rules)}, nil
}
