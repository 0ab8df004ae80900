package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
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
	Net     Internet          `json:"internet"` // what WAN says, apart
	Watched []string          `json:"watched"`  // devices
	Paused  *time.Time        `json:"paused_until"`
	Rules   []RuleStatus      `json:"rules"`
	Kernel  fw.Counters       `json:"kernel"`
	Hellos  uint64            `json:"hellos"`     // whole ClientHellos seen over TCP
	HTTP    uint64            `json:"requests"`   // whole heads of plain HTTP requests seen
	QUIC    uint64            `json:"initials"`   // whole ClientHellos seen over QUIC
	Late    uint64            `json:"mid_stream"` // connections whose beginning passed by
	Reasons map[string]uint64 `json:"reasons"`    // packets by why they got their verdict
	Tallies []pipeline.Tally  `json:"outcomes"`   // what became of treated messages, by rule and strategy
	Memory  MemoryStatus      `json:"memory"`
	Health  []Finding         `json:"health"` // none is well
}

// A MemoryStatus tells how Go's memory is used: under load none is to be asked for,
// so that nothing has to be collected.
type MemoryStatus struct {
	Heap        uint64 `json:"heap"`        // bytes in use
	Allocations uint64 `json:"allocations"` // since the start
	Collections uint32 `json:"collections"` // of garbage, since the start
}

// memory asks Go's runtime, which stops the world for some 20 µs.
func memory() MemoryStatus {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return MemoryStatus{m.HeapAlloc, m.Mallocs, m.NumGC}
}

// An Internet is the devices that lead there by family, and the interfaces of netifd
// that have none now; null is none.
type Internet struct {
	V4   []string `json:"v4"`
	V6   []string `json:"v6"`
	Down []string `json:"down"`
}

// An EngineStatus tells of the running engine.
type EngineStatus struct {
	Name         string              `json:"name"`
	Why          string              `json:"why"`
	Reason       Finding             `json:"reason"` // what Why says
	Uplink       string              `json:"uplink"` // behind engine tun: what leaves by it and how; else ""
	Ways         []Finding           `json:"ways"`   // what Uplink says
	Capabilities engine.Capabilities `json:"capabilities"`
	Counters     engine.Counters     `json:"counters"`
}

// A RuleStatus is one rule as it is in force.
type RuleStatus struct {
	Name     string `json:"name"`
	Names    int    `json:"names"`    // -1 is all names
	Prefixes int    `json:"prefixes"` // networks of servers, whatever their names
	Not      int    `json:"not"`
	Devices  string `json:"devices"` // in words; "" is all
	Who      Who    `json:"who"`     // what Devices says
	Ports    string `json:"ports"`   // "" is all that are watched
	Action   string `json:"action"`
	Strategy string `json:"strategy"` // its name
	Treatments
}

// A Who is the devices of a rule: those that fit one of each list that is not null.
type Who struct {
	MACs       []string `json:"macs"`
	Sources    []string `json:"sources"`
	Interfaces []string `json:"interfaces"`
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
		Version: d.opts.Version, Enabled: d.set.conf.Main.Enabled, Config: d.opts.Config,
		WAN: d.wan.wan.String(), Net: Internet{d.wan.wan.V4, d.wan.wan.V6, d.wan.wan.Down},
		Rules: ruleStatus(d.set), Memory: memory(), Watched: []string{}, Tallies: []pipeline.Tally{}, Reasons: map[string]uint64{},
	}
	if until := d.paused; time.Now().Before(until) {
		s.Paused = &until
	}
	var err error
	if c := d.core; c != nil {
		s.Engine = &EngineStatus{
			Name: c.engine.Name(), Why: c.choice.why.Text, Reason: c.choice.why, Capabilities: c.engine.Capabilities(), Counters: c.engine.Counters(),
		}
		if c.tunnel != nil && c.tunnel.uplink.device != "" {
			s.Engine.Uplink, s.Engine.Ways = c.tunnel.uplink.String(), c.tunnel.uplink.findings()
		}
		s.Watched = append(s.Watched, c.watched...)
		s.HTTP, s.QUIC = c.pipe.Messages(desync.HTTP), c.pipe.Messages(desync.QUIC)
		s.Tallies = append(s.Tallies, c.pipe.Outcomes()...)
		s.Hellos, s.Late, s.Reasons = c.pipe.Hellos(), c.pipe.MidStream(), c.pipe.Counts()
		s.Kernel, err = c.tab().Counters()
	}
	s.Health = d.health(&s, err)
	return s
}

func ruleStatus(s *settings) []RuleStatus {
	list := make([]RuleStatus, 0, len(s.pipe.Rules))
	for i, r := range s.pipe.Rules {
		conf := &s.conf.Rules[i]
		st := RuleStatus{
			Name: r.Name, Names: -1, Prefixes: r.Prefixes.Len(), Not: r.Not.Len(), Devices: whoText(conf), Who: whoOf(conf), Ports: portText(conf.Ports),
			Action: conf.Action, Strategy: r.Strategy, Treatments: s.treatments(i),
		}
		if r.Domains != nil || r.Prefixes != nil {
			st.Names = r.Domains.Len()
		}
		list = append(list, st)
	}
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
