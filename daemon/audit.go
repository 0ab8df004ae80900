package daemon

import (
	"fmt"
	"log/slog"
	"strings"

	"b4/engine"
	"b4/fw"
	"b4/nfq"
	"b4/tun"
)

// A journal logs each change that is made to the system: what, and why. It is the
// daemon's alone, and used under its lock.
type journal struct {
	log *slog.Logger
	why string // of what is done now
}

func (j *journal) note(format string, a ...any) {
	j.log.Info("changed", "what", fmt.Sprintf(format, a...), "why", j.why)
}

// end notes what is gone, if it is.
func (j *journal) end(err error, format string, a ...any) error {
	if err == nil {
		j.note(format, a...)
	}
	return err
}

// audited is a kernel whose changes are noted in a journal. What the kernel takes
// back by itself when b4d ends is noted where b4d lets go of it.
type audited struct {
	kernel
	journal *journal
}

func (k audited) openTable() (table, error) {
	t, err := k.kernel.openTable()
	if err != nil {
		return nil, err
	}
	k.journal.note("table inet b4 made")
	return auditedTable{t, k.journal}, nil
}

func (k audited) newQueue(c nfq.Config) engine.Engine {
	what := fmt.Sprintf("listener of netfilter queue %d", c.Num)
	if n := len(c.More); n > 0 {
		what += fmt.Sprintf("-%d", int(c.Num)+n)
	}
	return &auditedEngine{k.kernel.newQueue(c), k.journal, what}
}

func (k audited) newTun(c tun.Config) tunEngine {
	e := k.kernel.newTun(c)
	return &auditedTun{auditedEngine{e, k.journal, "device " + c.Device.Name}, e}
}

func (k audited) openRoutes(tell func(string)) (routes, error) {
	return k.kernel.openRoutes(func(change string) { k.journal.note("%s", change) })
}

func (k audited) ownSysctls(dev string, writeBack bool) []string {
	changed := k.kernel.ownSysctls(dev, writeBack)
	for _, line := range changed {
		k.journal.note("sysctl %s", line)
	}
	return changed
}

type auditedTable struct {
	table
	journal *journal
}

func (t auditedTable) Apply(r *fw.Ruleset, watched []string) error {
	return t.journal.end(t.table.Apply(r, watched), "table inet b4: chains %s; %s", strings.Join(r.Chains(), ", "), watching(watched))
}

func (t auditedTable) Watch(names []string) error {
	return t.journal.end(t.table.Watch(names), "table inet b4: %s", watching(names))
}

func watching(devices []string) string {
	if len(devices) == 0 {
		return "no device is watched"
	}
	return strings.Join(devices, ", ") + " watched"
}

func (t auditedTable) Close() error {
	return t.journal.end(t.table.Close(), "table inet b4 removed")
}

type auditedEngine struct {
	engine.Engine
	journal *journal
	what    string
}

func (e *auditedEngine) Start() error { return e.journal.end(e.Engine.Start(), "%s made", e.what) }
func (e *auditedEngine) Close() error { return e.journal.end(e.Engine.Close(), "%s removed", e.what) }

type auditedTun struct {
	auditedEngine
	tun tunEngine
}

func (e *auditedTun) SetOut(index int32) { e.tun.SetOut(index) }
func (e *auditedTun) SetMTU(n int) error {
	return e.journal.end(e.tun.SetMTU(n), "%s: MTU %d", e.what, n)
}
