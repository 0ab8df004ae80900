package daemon

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"b4/control"
	"b4/desync"
	"b4/fw"
	"b4/route"

	"golang.org/x/sys/unix"
)

// Check reads the configuration, asks the kernel what it offers, and writes the
// effective plan to w, touching nothing. The error has a line for each thing
// that keeps b4 from treating packets.
func Check(o Options, w io.Writer) error { return check(linux{}, o, w) }

func check(k kernel, o Options, w io.Writer) error {
	s, err := checkFile(o, w)
	if err != nil {
		return err
	}
	return checkKernel(k, s, w)
}

// CheckFile is the part of Check that asks neither the kernel nor for interfaces:
// it fails for what a running b4d would refuse wherever it runs.
func CheckFile(o Options, w io.Writer) error {
	_, err := checkFile(o, w)
	return err
}

func checkFile(o Options, w io.Writer) (*settings, error) {
	s, warnings, err := load(o.Config, o.Overrides)
	for _, warning := range warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	if err != nil {
		return nil, err
	}
	writeRules(w, s)
	return s, nil
}

func writeRules(w io.Writer, s *settings) {
	if !s.conf.Main.Enabled {
		fmt.Fprintln(w, "b4 is off: main.enabled is 0")
	}
	if names, networks := s.pipe.Never.Len(), len(s.who.never); names+networks > 0 {
		fmt.Fprintf(w, "never: %d names and %d addresses or networks, see %s\n", names, networks, s.conf.Main.Never)
	}
	for i, r := range ruleStatus(s) {
		names := "all names"
		if r.Names >= 0 {
			names = fmt.Sprintf("%d names", r.Names)
		}
		if r.Prefixes > 0 {
			names = strings.TrimPrefix(fmt.Sprintf("%s and %d networks", names, r.Prefixes), "0 names and ")
		}
		if r.Not > 0 {
			names += fmt.Sprintf(" but %d", r.Not)
		}
		if r.Devices != "" {
			names += ", of " + r.Devices
		}
		if r.Ports != "" {
			names += ", to " + r.Ports
		}
		fmt.Fprintf(w, "rule %s: %s: %s", r.Name, names, r.Action)
		if r.QUICAction != r.Action {
			fmt.Fprintf(w, ", quic: %s", r.QUICAction)
		}
		fmt.Fprintln(w)
		rule := &s.pipe.Rules[i]
		for proto, t := range rule.For {
			if t.Steps == nil {
				continue
			}
			also := wants(s.needs(i, t.Steps))
			if also != "" {
				also = "; " + also
			}
			fmt.Fprintf(w, "\t%v by strategy %s: %v (puts %v on the wire%s)\n", desync.Proto(proto), r.Strategy, t.Steps, t.Steps.Harm(), also)
		}
	}
}

// wants says what has to come to b4 besides the message; "" is nothing.
func wants(n desync.Need) string {
	var what []string
	if n.Phases&desync.SYN != 0 {
		what = append(what, "SYNs")
	}
	if n.Phases&desync.SYNACK != 0 || n.Hops {
		what = append(what, "servers' SYN,ACKs")
	}
	if what == nil {
		return ""
	}
	return "has b4 shown " + strings.Join(what, " and ")
}

// checkNames writes which devices the names of an option stand for.
func checkNames(k kernel, s *settings, option string, names []string, w io.Writer) ([]string, error) {
	wan, err := k.resolve(names)
	for _, note := range wan.Notes {
		fmt.Fprintf(w, "warning: %s\n", note.Text)
	}
	if err == nil && len(wan.Devices()) == 0 {
		err = errors.New("no interface holds a default route: bring the uplink up, or name it with list wan")
		if len(wan.Down) > 0 {
			err = fmt.Errorf("%s: bring it up", wan)
		}
	}
	if err != nil {
		return nil, s.wrong(option, err)
	}
	_, name, _ := strings.Cut(option, ".")
	fmt.Fprintf(w, "%s: %s\n", name, wan)
	return wan.Devices(), nil
}

// checkKernel writes the devices, the engine and the rules for this kernel, and
// the routes if they lead to a TUN. Without the right to ask it, they are the
// rules of a queue for one that has everything.
func checkKernel(k kernel, s *settings, w io.Writer) error {
	var what scope
	var wanErr error
	what.devices, wanErr = checkNames(k, s, "main.wan", s.conf.Main.WAN, w)
	c, err := choose(k, s)
	switch {
	case errors.Is(err, unix.EPERM) && s.conf.Main.Engine == engineTun:
		fmt.Fprintln(w, "engine: tun; whether this kernel has it, and what leads there, only root may ask (CAP_NET_ADMIN)")
		return wanErr
	case errors.Is(err, unix.EPERM):
		fmt.Fprintln(w, "engine: nfqueue; whether this kernel has it only root may ask (CAP_NET_ADMIN)")
		c = choice{engine: engineQueue, features: fw.Features{Owner: true, Queue: fw.Native}}
	case err != nil:
		return errors.Join(wanErr, err)
	default:
		fmt.Fprintf(w, "engine: %s (%s)\n", c.engine, c.why.Text)
	}
	what.lans = askLANs(k, s, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
	what.lans.eachWrong(s, func(option string, err error) { wanErr = errors.Join(wanErr, s.wrong(option, err)) })
	var u *uplink
	if c.engine == engineTun {
		if out := s.out(); out != nil {
			what.out, wanErr = checkNames(k, s, "tun.out", out, w) // main.wan is only for comparison then
		}
		if wanErr != nil {
			return wanErr
		}
		if u, err = checkTunnel(k, s, what, w); err != nil {
			return err
		}
	}
	var h house
	if u == nil {
		h = findHouse(k, s, what.devices)
	} else {
		h.offload = findOffload(k, []string{u.device}, nil)
	}
	for _, note := range append(s.quicNotes(c, h.scatter), h.offload.notes()...) {
		fmt.Fprintf(w, "warning: %s\n", note.Text)
	}
	plan, err := fw.Plan(s.rules(c.features, u, h, what.lans))
	if err != nil {
		return errors.Join(wanErr, err)
	}
	fmt.Fprint(w, plan)
	return wanErr
}

// checkTunnel writes what the TUN will stand before, and the routes into it.
func checkTunnel(k kernel, s *settings, what scope, w io.Writer) (*uplink, error) {
	routes, err := k.openRoutes(nil)
	if err != nil {
		return nil, err
	}
	defer routes.Close()
	l, err := routes.Links()
	if err != nil {
		return nil, err
	}
	u, err := findUplink(k, s, what, l)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(w, "uplink: %s\n", &u)
	for _, n := range u.notes {
		fmt.Fprintf(w, "warning: %s\n", n.Text)
	}
	if dev := s.conf.Tun.Device; !slices.ContainsFunc(l.Devices, func(d route.Device) bool { return d.Name == dev }) {
		l.Devices = append(l.Devices, route.Device{Index: -1, Name: dev, Up: true}) // as it will be
	}
	state, err := s.planRoutes(u, l)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(w, state)
	return &u, nil
}

// Cleanup removes whatever an earlier b4d could not remove itself. It touches
// nothing of one that runs, whose error wraps control.ErrRunning or fw.ErrOwned.
func Cleanup(socket string) error {
	err := control.Cleanup(socket)
	if errors.Is(err, control.ErrRunning) {
		return err
	}
	owned := fw.Cleanup()
	if errors.Is(owned, fw.ErrOwned) {
		return errors.Join(err, owned)
	}
	return errors.Join(err, owned, route.Cleanup())
}
