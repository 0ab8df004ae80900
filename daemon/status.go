package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/fw"
	"b4/match"
	"b4/pipeline"
)

// A Status is what `b4d status -json` prints.
type Status struct {
	Version string            `json:"version"`
	Enabled bool              `json:"enabled"`
	Config  string            `json:"config"` // path; "" is the default one
	Engine  *EngineStatus     `json:"engine"` // null while disabled
	WAN     string            `json:"wan"`
	Watched []string          `json:"watched"` // devices
	Paused  *time.Time        `json:"paused_until"`
	Rules   []RuleStatus      `json:"rules"`
	Kernel  fw.Counters       `json:"kernel"`
	Hellos  uint64            `json:"hellos"`     // whole ClientHellos seen over TCP
	HTTP    uint64            `json:"requests"`   // whole heads of plain HTTP requests seen
	QUIC    uint64            `json:"initials"`   // whole ClientHellos seen over QUIC
	Late    uint64            `json:"mid_stream"` // connections whose beginning passed by
	Reasons map[string]uint64 `json:"reasons"`    // packets by why they got their verdict
	Tallies []pipeline.Tally  `json:"outcomes"`   // what became of treated messages, by rule and strategy
	Health  []string          `json:"health"`     // what is wrong, a sentence each; none is well
}

// An EngineStatus tells of the running engine.
type EngineStatus struct {
	Name         string              `json:"name"`
	Why          string              `json:"why"`
	Uplink       string              `json:"uplink"` // behind engine tun: what leaves by it and how; else ""
	Capabilities engine.Capabilities `json:"capabilities"`
	Counters     engine.Counters     `json:"counters"`
}

// A RuleStatus is one rule as it is in force.
type RuleStatus struct {
	Name     string `json:"name"`
	Names    int    `json:"names"` // -1 is all names
	Not      int    `json:"not"`
	Devices  string `json:"devices"` // in words; "" is all
	Ports    string `json:"ports"`   // "" is all that are watched
	Action   string `json:"action"`
	Strategy string `json:"strategy"` // its name
	Treatments
}

// Treatments are what a rule does with each kind of message: canonical texts of
// strategies, "" where the message is left as it is, or is not desynced at all.
type Treatments struct {
	TLS        string `json:"tls"`
	HTTP       string `json:"http"`
	QUIC       string `json:"quic"`
	QUICAction string `json:"quic_action"`
}

// treatments tells what rule i does.
func (s *settings) treatments(i int) Treatments {
	var texts [desync.Protos]string
	for proto, t := range s.pipe.Rules[i].For {
		if t.Steps != nil {
			texts[proto] = t.Steps.String()
		}
	}
	r := &s.conf.Rules[i]
	return Treatments{texts[desync.TLS], texts[desync.HTTP], texts[desync.QUIC], cmp.Or(r.QUIC, r.Action)}
}

// Status tells how b4d is.
func (d *Daemon) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{
		Version: d.opts.Version, Enabled: d.set.conf.Main.Enabled, Config: d.opts.Config, WAN: d.wan.wan.String(),
		Rules: ruleStatus(d.set), Watched: []string{}, Tallies: []pipeline.Tally{}, Health: []string{}, Reasons: map[string]uint64{},
	}
	if until := d.paused; time.Now().Before(until) {
		s.Paused = &until
	}
	var err error
	if c := d.core; c != nil {
		s.Engine = &EngineStatus{
			Name: c.engine.Name(), Why: c.choice.why, Capabilities: c.engine.Capabilities(), Counters: c.engine.Counters(),
		}
		if c.tunnel != nil && c.tunnel.uplink.device != "" {
			s.Engine.Uplink = c.tunnel.uplink.String()
		}
		s.Watched = append(s.Watched, c.watched...)
		s.HTTP, s.QUIC = c.pipe.Messages(desync.HTTP), c.pipe.Messages(desync.QUIC)
		s.Tallies = append(s.Tallies, c.pipe.Outcomes()...)
		s.Hellos, s.Late, s.Reasons = c.pipe.Hellos(), c.pipe.MidStream(), c.pipe.Counts()
		s.Kernel, err = c.tab().Counters()
	}
	s.Health = append(s.Health, d.health(&s, err)...)
	return s
}

func ruleStatus(s *settings) []RuleStatus {
	list := make([]RuleStatus, 0, len(s.pipe.Rules))
	for i, r := range s.pipe.Rules {
		conf := &s.conf.Rules[i]
		st := RuleStatus{
			Name: r.Name, Names: -1, Not: r.Not.Len(), Devices: whoText(conf), Ports: portText(conf.Ports),
			Action: conf.Action, Strategy: r.Strategy, Treatments: s.treatments(i),
		}
		if r.Domains != nil {
			st.Names = r.Domains.Len()
		}
		list = append(list, st)
	}
	return list
}

// enough is how many connections must have passed before their number says
// something.
const enough = 10

// health says what is wrong in plain sentences.
func (d *Daemon) health(s *Status, countErr error) (list []string) {
	say := func(wrong bool, format string, a ...any) {
		if wrong {
			list = append(list, strings.ReplaceAll(fmt.Sprintf(format, a...), "\n", "; ")) // of joined errors
		}
	}
	say(d.refused != nil, "The last reload was refused, and the configuration before it is in force: %v.", d.refused)
	say(!s.Enabled, "b4 is off: set main.enabled to 1 and reload.")
	say(s.Paused != nil, "b4 is paused: nothing is changed on the wire until %s.", d.paused.Format("15:04:05"))
	waits := errors.Is(d.coreErr, errNoUplink)
	say(waits, "Nothing is steered for now: %v.", d.coreErr)
	say(d.coreErr != nil && !waits, "b4 is not as it should be, and tries again: %v.", d.coreErr)
	say(s.Enabled && s.Engine == nil, "b4 treats nothing: its engine does not run.")
	say(d.wan.err != nil, "main.wan (%s): %v.", d.set.conf.Place("main.wan"), d.wan.err)
	say(d.out.err != nil, "tun.out (%s): %v.", d.set.conf.Place("tun.out"), d.out.err)
	d.lans.eachWrong(d.set, func(option string, err error) { say(true, "%s (%s): %v.", option, d.set.conf.Place(option), err) })
	say(s.Enabled && len(d.watchable()) == 0 && !waits, "No interface leads to the internet, so nothing is watched.")
	for _, note := range slices.Concat(d.wan.wan.Notes, d.out.wan.Notes) {
		say(s.Enabled, "%s.", note)
	}
	if d.opts.Notes != nil {
		for _, note := range d.opts.Notes() {
			say(true, "%s.", note)
		}
	}
	if s.Engine == nil {
		return list
	}
	for _, a := range d.kernel.uncounted() {
		say(true, "b4 is shown nothing, as %s: set %s in /etc/sysctl.conf.", a.Why, a.Line)
	}
	if t := d.core.tunnel; t != nil && d.core.idle == nil {
		for _, note := range t.uplink.notes {
			say(true, "Uplink %s: %s.", t.uplink.device, note)
		}
	}
	for _, note := range append(d.set.quicNotes(d.core.choice, d.core.house.scatter), d.core.house.offload.notes()...) {
		say(true, "%s.", note)
	}
	k := s.Kernel
	say(countErr != nil, "The table inet b4 cannot be read: %v.", countErr)
	say(k.Bare >= enough && k.Opened >= enough && s.Hellos == 0,
		"%d connections were opened and no ClientHello was ever seen: flow offloading, or another program, takes the packets before b4.", k.Opened)
	say(s.Late >= enough && s.Late > s.Hellos,
		"Hellos are seen too late: of %d connections only what follows the ClientHello came to b4.", s.Late)
	say(s.Engine.Counters.Lost > 0, "The kernel found no room for %d packets on their way to b4; they went on untouched.", s.Engine.Counters.Lost)
	say(s.Engine.Counters.SendFailed > 0, "%d packets could not be sent; what they stood for went on untouched.", s.Engine.Counters.SendFailed)
	return list
}

// maxPause is a day: who wants longer turns b4 off.
const maxPause = 24 * 60

// PauseRequest is the parameter of the method pause. Zero ends a pause.
type PauseRequest struct {
	Minutes int `json:"minutes"`
}

func (d *Daemon) handlePause(_ context.Context, q PauseRequest, _ func(any) error) (any, error) {
	if q.Minutes < 0 || q.Minutes > maxPause {
		return nil, fmt.Errorf("want minutes from 0 to %d", maxPause)
	}
	d.mu.Lock()
	d.paused = time.Now().Add(time.Duration(q.Minutes) * time.Minute)
	d.mu.Unlock()
	notify(d.poke)
	return q, nil
}

// An Event is one line of the method trace.
type Event = pipeline.Event

// TraceRequest is the parameter of the method trace: a host name, which stands
// for the names below it too, or "*".
type TraceRequest struct {
	Host string `json:"host"`
}

// traceRoom is how many events wait for a slow reader; more are lost.
const traceRoom = 256

func (d *Daemon) handleTrace(ctx context.Context, q TraceRequest, emit func(any) error) (any, error) {
	var b match.Builder
	if err := b.Add(q.Host); err != nil {
		return nil, err
	}
	d.mu.Lock()
	c := d.core
	d.mu.Unlock()
	if c == nil {
		return nil, errors.New("b4 is off: there is nothing to trace")
	}
	events := make(chan pipeline.Event, traceRoom)
	stop, ok := c.pipe.Trace(&pipeline.Tracer{Hosts: b.Set(), Each: func(e pipeline.Event) {
		select {
		case events <- e:
		default:
		}
	}})
	if !ok {
		return nil, errors.New("another trace is running: end it first")
	}
	defer stop()
	for {
		select {
		case e := <-events:
			if err := emit(e); err != nil {
				return nil, err
			}
		case <-c.done:
			return nil, errors.New("b4 has stopped treating packets")
		case <-ctx.Done():
			return nil, nil
		}
	}
}
