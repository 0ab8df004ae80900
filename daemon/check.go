package daemon

import (
	"errors"
	"fmt"
	"io"

	"b4/control"
	"b4/fw"
	"b4/nfq"

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
	return errors.Join(checkWAN(k, s, w), checkKernel(k, s, w))
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

func checkWAN(k kernel, s *settings, w io.Writer) error {
	wan, err := k.resolve(s.conf.Main.WAN)
	if err == nil && len(wan.Devices()) == 0 {
		err = errors.New("no interface holds a default route: bring the uplink up, or name it with list wan")
		if len(wan.Down) > 0 {
			err = fmt.Errorf("%s: bring it up", wan)
		}
	}
	if err != nil {
		return s.wrong("main.wan", err)
	}
	fmt.Fprintf(w, "wan: %s\n", wan)
	return nil
}

// checkKernel writes the rules for this kernel. Without the right to ask it,
// they are the rules for one that has everything.
func checkKernel(k kernel, s *settings, w io.Writer) error {
	features, err := k.probe()
	if err == nil {
		err = k.newEngine(nfq.Config{}).Supported()
	}
	switch {
	case errors.Is(err, unix.EPERM):
		fmt.Fprintln(w, "engine: nfqueue; whether this kernel has it only root may ask (CAP_NET_ADMIN)")
		features = fw.Features{Owner: true, Queue: fw.Native}
	case err != nil:
		return s.wrong("main.engine", err)
	case features.Queue == fw.None:
		return s.wrong("main.engine", missing(features))
	default:
		fmt.Fprintf(w, "engine: nfqueue (%s queue)\n", features.Queue)
	}
	plan, err := s.plan(features)
	if err != nil {
		return err
	}
	fmt.Fprint(w, plan)
	return nil
}

// Cleanup removes whatever an earlier b4d could not remove itself.
func Cleanup(socket string) error { return errors.Join(control.Cleanup(socket), fw.Cleanup()) }
