package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/engine"
	"b4/fw"
	"b4/netif"
	"b4/route"

	"golang.org/x/sys/unix"
)

// Each finding has its code, and its values apart from the sentence.
func TestFindings(t *testing.T) {
	t.Parallel()
	nowhere := fmt.Errorf("wan: %w", errNoUplink)
	noQueue := lacks("kmod-nft-queue", fmt.Errorf("engine nfqueue: %w", engine.ErrNotSupported))
	several := errors.Join(errors.New("one"), errors.New("two"))
	for _, tt := range []struct {
		name string
		set  func(d *Daemon, s *Status)
		want string // findings as JSON, without the texts
		text string // in one of them
	}{
		{"well", func(*Daemon, *Status) {}, ``, ""},
		{"refused", func(d *Daemon, _ *Status) { d.refused = several }, `refused["one; two"]`, "before it is in force: one; two."},
		{"off", func(_ *Daemon, s *Status) { s.Enabled = false }, `off[]`, "b4 is off"},
		{"paused", func(d *Daemon, s *Status) {
			d.paused = time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
			s.Paused = &d.paused
		}, `paused["2026-11-22T10:30:00Z"]`, "until 10:30:00."},
		{"waits", func(d *Daemon, _ *Status) { d.coreErr = nowhere }, `waits["wan: ` + errNoUplink.Error() + `"]`, "for now"},
		{"failing", func(d *Daemon, _ *Status) { d.coreErr = several }, `failing["one; two"]`, "and tries again: one; two."},
		{"missing", func(d *Daemon, s *Status) { d.coreErr, s.Engine = noQueue, nil },
			`missing["kmod-nft-queue","engine nfqueue: not supported by this kernel"] no_engine[]`, "and tries again: engine nfqueue: not supported"},
		{"wan", func(d *Daemon, _ *Status) { d.wan.err = several }, `wan["b4:4","one; two"]`, "main.wan (b4:4): one; two."},
		{"out", func(d *Daemon, _ *Status) { d.out.err = errBroken }, `out["default","broken on purpose"]`, "tun.out (default): broken"},
		{"devices", func(d *Daemon, _ *Status) { d.lans = lans{"guest": lookup{err: errBroken}} },
			`devices["rule.guests.interface","b4:6","broken on purpose"]`, "rule.guests.interface (b4:6): broken on purpose."},
		{"no wan", func(d *Daemon, _ *Status) { d.wan.wan.V4, d.wan.wan.V6 = nil, nil }, `no_wan[]`, "No interface leads to the internet"},
		{"note", func(d *Daemon, _ *Status) {
			d.wan.wan.Notes = []netif.Note{{Code: "note_bridge", Text: "wan0 is a bridge", Args: []string{"wan0"}}}
			d.opts.Notes = []Finding{{Code: "note_rights", Text: "b4d has it all", Args: []string{}}}
		}, `note_bridge["wan0"] note_rights[]`, "wan0 is a bridge. b4d has it all."},
		{"accounting", func(d *Daemon, _ *Status) {
			d.kernel.(*fake).uncount = []route.Advice{{Line: "x=1", Why: "nobody counts"}}
		}, `accounting["nobody counts","x=1"]`, "shown nothing, as nobody counts: set x=1 in /etc/sysctl.conf."},
		{"others", func(d *Daemon, _ *Status) {
			files := d.kernel.(*fake).files
			files[listenersPath] = "  200 123 0\n  201 123 0\n\n  300 4294967290 0\n  537 5 0\n"
			files["/proc/123/comm"] = "nfqws\n"
		}, `other_program["nfqws","200, 201, 300"]`,
			"Another program (nfqws) takes packets by netfilter queue 200, 201, 300: two such programs on one connection undo each other."},
		{"others, and none of ours", func(d *Daemon, _ *Status) {
			d.kernel.(*fake).files[listenersPath], d.core.tunnel = "  537 5 0\n", &tunnel{}
		}, `other_program["PID 5","537"]`, "Another program (PID 5) takes packets by netfilter queue 537: two"},
		{"off, and others", func(d *Daemon, s *Status) {
			d.kernel.(*fake).files[listenersPath], s.Enabled = "  200 5 0\n", false
		}, `off[]`, "off"},
		{"uplink", func(d *Daemon, _ *Status) {
			d.core.tunnel = &tunnel{uplink: uplink{device: "wan0", notes: findings{{Code: "uplink_address", Text: "no IPv6", Args: []string{"IPv6", "wan0"}}}}}
		}, `uplink_address["IPv6","wan0"]`, "Uplink wan0: no IPv6."},
		{"quic", func(d *Daemon, _ *Status) { d.core.house.scatter.v4 = true }, `quic_scattered["IPv4"]`, "QUIC over IPv4 is left alone"},
		{"offload", func(d *Daemon, _ *Status) { d.core.house.offload.By, d.core.house.offload.Missed = "it", "is" }, `offload_missed["it","is"]`, "Flow offloading: it is."},
		{"no hellos", func(_ *Daemon, s *Status) { s.Kernel = fw.Counters{Opened: 12, Bare: 12} }, `no_hellos["12"]`, "12 connections were opened"},
		{"late", func(_ *Daemon, s *Status) { s.Late = 11 }, `late["11"]`, "of 11 connections"},
		{"lost", func(_ *Daemon, s *Status) { s.Engine.Counters.Lost = 3 }, `lost["3"]`, "no room for 3 packets"},
		{"send failed", func(_ *Daemon, s *Status) { s.Engine.Counters.SendFailed = 4 }, `send_failed["4"]`, "4 packets could not be sent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newFake(t)
			set := settingsOf(t, "config b4 'main'\n\tlist wan 'wan'\nconfig rule 'guests'\n\tlist interface 'guest'\n")
			d := &Daemon{kernel: k, set: set, core: &core{}, wan: lookup{wan: k.wan}}
			s := &Status{Enabled: true, Engine: &EngineStatus{}}
			tt.set(d, s)
			var got []string
			list := d.health(s, nil)
			for _, f := range list {
				args, err := json.Marshal(f.Args)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, f.Code+string(args))
			}
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if !strings.Contains(strings.Join(sentences(list), " "), tt.text) {
				t.Errorf("%q lacks %q", sentences(list), tt.text)
			}
		})
	}
	d := &Daemon{kernel: newFake(t), set: settingsOf(t, enabled), core: &core{}, wan: lookup{wan: newFake(t).wan}}
	list := d.health(&Status{Enabled: true, Engine: &EngineStatus{}}, errBroken)
	if len(list) != 1 || list[0].Code != "no_table" || !slices.Equal(list[0].Args, []string{"broken on purpose"}) {
		t.Errorf("%+v", list)
	}
}

// A kernel that lacks a package is no reason to leave, nor to refuse a reload then:
// status names it, and once it is installed b4d goes on by itself.
func TestPackageMissing(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	whole := k.features
	k.features = fw.Features{Missing: "kmod-nft-queue"}
	r := start(t, k, enabled+"\toption engine 'nfqueue'\n")
	s := r.status()
	if s.Engine != nil || len(s.Health) != 2 || s.Health[0].Code != "missing" || s.Health[0].Args[0] != "kmod-nft-queue" {
		t.Errorf("%+v", s)
	}
	r.write(enabled + "\toption engine 'nfqueue'\nconfig rule 'new'\n") // is taken, as it makes nothing worse
	r.hangup()
	r.eventually("the new rule is there", func() bool { return r.status().Rules[0].Name == "new" })
	if s := r.status(); len(s.Health) != 2 || s.Health[0].Code != "missing" {
		t.Errorf("%+v", s)
	}
	r.write(enabled + "\toption engine 'queue'\n")
	r.hangup()
	r.complains("refused")
	r.write(enabled)
	r.hangup()
	r.eventually("that is forgotten", func() bool { return len(r.status().Health) == 2 })
	r.set(func() { k.features = whole })
	r.eventually("it runs", func() bool { s := r.status(); return s.Engine != nil && len(s.Health) == 0 })
}

// Nor is a strategy that wants the engine which is missing, where any engine may be taken.
func TestPackageMissingForStrategy(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	queue := k.features.Queue
	k.features.Queue, k.features.Missing = fw.None, "kmod-nft-queue"
	r := start(t, k, enabled+"\toption observe '1'\n")
	s := r.status()
	if s.Engine != nil || len(s.Health) != 2 || s.Health[0].Code != "missing" || s.Health[0].Args[0] != "kmod-nft-queue" ||
		!strings.Contains(s.Health[0].Text, "main.observe: to look at answers needs engine nfqueue, and this is tun (auto: ") {
		t.Errorf("%+v", s)
	}
	r.set(func() { k.features.Queue = queue })
	r.eventually("it runs", func() bool { s := r.status(); return s.Engine != nil && len(s.Health) == 0 })
}

// Neither is another program that has the queue: status says who, and b4d goes on
// once that is stopped.
func TestQueueTaken(t *testing.T) {
	t.Parallel()
	k := newFake(t)
	k.fail["queue 537"], k.why, k.files[listenersPath] = true, unix.EPERM, "  537 123 0\n"
	r := start(t, k, enabled)
	var codes []string
	for _, f := range r.status().Health {
		codes = append(codes, f.Code)
	}
	if want := []string{"failing", "no_engine", "other_program"}; !slices.Equal(codes, want) {
		t.Errorf("%q, want %q", codes, want)
	}
	r.set(func() { k.fail["queue 537"], k.files = false, nil })
	r.eventually("it runs", func() bool { s := r.status(); return s.Engine != nil && len(s.Health) == 0 })
}
