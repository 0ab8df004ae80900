package daemon

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"b4/control"
	"b4/fw"
	"b4/netif"
	"b4/route"

	"golang.org/x/sys/unix"
)

// Check reads the configuration, asks the kernel what it offers, and writes the
// effective plan to w, touching nothing. The error has a line for each thing
// that keeps b4 from treating packets.
func Check(o Options, w io.Writer) error { return check(linux{}, o, w) }

func check(k kernel, o Options, w io.Writer) error {
	s, warnings, err := load(o.Config, o.Overrides)
	for _, warning := range warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	if err != nil {
		return err
	}
	writeRules(w, s)
	wan, err := checkWAN(k, s, w)
	return errors.Join(err, checkKernel(k, s, wan, w))
}

func writeRules(w io.Writer, s *settings) {
	if !s.conf.Main.Enabled {
		fmt.Fprintln(w, "b4 is off: main.enabled is 0")
	}
	for i, r := range ruleStatus(s) {
		names := "all names"
		if r.Names >= 0 {
			names = fmt.Sprintf("%d names", r.Names)
		}
		if r.Not > 0 {
			names += fmt.Sprintf(" but %d", r.Not)
		}
		fmt.Fprintf(w, "rule %s: %s: %s", r.Name, names, r.Action)
		if t := s.pipe.Rules[i].TLS; r.Action == "desync" && t != nil {
			fmt.Fprintf(w, " by strategy %s: tls %s (puts %s on the wire)", r.Strategy, t, t.Harm())
		}
		fmt.Fprintln(w)
	}
}

func checkWAN(k kernel, s *settings, w io.Writer) (netif.WAN, error) {
	wan, err := k.resolve(s.conf.Main.WAN)
	if err == nil && len(wan.Devices()) == 0 {
		err = errors.New("no interface holds a default route: bring the uplink up, or name it with list wan")
		if len(wan.Down) > 0 {
			err = fmt.Errorf("%s: bring it up", wan)
		}
	}
	if err != nil {
		return wan, s.wrong("main.wan", err)
	}
	fmt.Fprintf(w, "wan: %s\n", wan)
	return wan, nil
}

// checkKernel writes the rules for this kernel, and the routes if they lead to a
// TUN. Without the right to ask it, they are the rules for one that has
// everything.
func checkKernel(k kernel, s *settings, wan netif.WAN, w io.Writer) error {
	c, err := choose(k, s)
	switch {
	case errors.Is(err, unix.EPERM) && s.conf.Main.Engine != engineTun:
		fmt.Fprintln(w, "engine: nfqueue; whether this kernel has it only root may ask (CAP_NET_ADMIN)")
		c = choice{engine: engineQueue, features: fw.Features{Owner: true, Queue: fw.Native}}
	case err != nil:
		return s.wrong("main.engine", err)
	default:
		fmt.Fprintf(w, "engine: %s (%s)\n", c.engine, c.why)
	}
	var u *uplink
	if c.engine == engineTun {
		if u, err = checkTunnel(k, s, wan, w); err != nil {
			return err
		}
	}
	plan, err := fw.Plan(s.rules(c.features, u))
	if err != nil {
		return err
	}
	fmt.Fprint(w, plan)
	return nil
}

// checkTunnel writes what the TUN will stand before, and the routes into it.
func checkTunnel(k kernel, s *settings, wan netif.WAN, w io.Writer) (*uplink, error) {
	routes, err := k.openRoutes()
	if err != nil {
		return nil, err
	}
	defer routes.Close()
	l, err := routes.Links()
	if err != nil {
		return nil, err
	}
	u, err := findUplink(k, s, wan.Devices(), l)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(w, "uplink: %s\n", u)
	if u.notes != "" {
		fmt.Fprintf(w, "warning: %s\n", u.notes)
	}
	if dev := s.conf.Tun.Device; !slices.ContainsFunc(l.Devices, func(d route.Device) bool { return d.Name == dev }) {
		l.Devices = append(l.Devices, route.Device{Index: -1, Name: dev, Up: true}) // as it will be
	}
	state, err := route.Plan(s.routes(u), l)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(w, state)
	return &u, nil
}

// Cleanup removes whatever an earlier b4d could not remove itself.
func Cleanup(socket string) error {
	return errors.Join(control.Cleanup(socket), fw.Cleanup(), route.Cleanup())
}
