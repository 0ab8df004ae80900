package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"sort"
	"strconv"
	"strings"

	"b4/control"
	"b4/daemon"
	"b4/uci"
)

// client makes the options of a subcommand that talks to the running b4d.
func client() (f *flags, socket *string) {
	f = new(flags)
	return f, f.text("socket", uci.DefaultSocket) // as main.socket says
}

func runStatus(args []string, stdout, stderr io.Writer) error {
	f, socket := client()
	asJSON := f.toggle("json")
	if err := f.parse(args, stderr, 0, 0, "no arguments"); err != nil {
		return err
	}
	var s daemon.Status
	if err := control.Call(*socket, "status", nil, &s); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(stdout, s)
	}
	writeStatus(stdout, &s)
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeStatus(w io.Writer, s *daemon.Status) {
	fmt.Fprintf(w, "b4 %s\n", s.Version)
	if e := s.Engine; e != nil {
		fmt.Fprintf(w, "engine:  %s (%s)\n", e.Name, e.Why)
		if e.Uplink != "" {
			fmt.Fprintf(w, "uplink:  %s\n", e.Uplink)
		}
		fmt.Fprintf(w, "packets: %d read, %d untouched, %d replaced, %d sent besides, %d lost\n",
			e.Counters.Read, e.Counters.Accepted, e.Counters.Replaced, e.Counters.Sent, e.Counters.Lost)
		fmt.Fprintf(w, "kernel:  %d connections opened, %d packets shown to b4\n", s.Kernel.Opened, s.Kernel.Queued)
	}
	fmt.Fprintf(w, "wan:     %s\n", s.WAN)
	fmt.Fprintf(w, "hellos:  %d over TCP, %d over QUIC; %d plain requests\n", s.Hellos, s.QUIC, s.HTTP)
	for _, r := range s.Rules {
		fmt.Fprintf(w, "rule %s: %s", r.Name, r.Action)
		if r.QUICAction != r.Action {
			fmt.Fprintf(w, ", quic: %s", r.QUICAction)
		}
		for _, t := range [...]struct{ proto, text string }{{"tls", r.TLS}, {"http", r.HTTP}, {"quic", r.QUIC}} {
			if t.text != "" {
				fmt.Fprintf(w, "\n\t%s by %s: %s", t.proto, r.Strategy, t.text)
			}
		}
		fmt.Fprintln(w)
	}
	for _, t := range s.Tallies {
		fmt.Fprintf(w, "became:  %s by %s, %s: %s\n", t.Proto, t.Rule, t.Strategy, counts(t.Outcomes))
	}
	if why := counts(s.Reasons); why != "" {
		fmt.Fprintf(w, "why:     %s\n", why)
	}
	for _, f := range s.Health {
		fmt.Fprintf(w, "! %s\n", f.Text)
	}
}

// counts is what has been counted at all, by name.
func counts(m map[string]uint64) string {
	var list []string
	for name, n := range m {
		if n > 0 {
			list = append(list, fmt.Sprintf("%s %d", name, n))
		}
	}
	sort.Stable(sort.StringSlice(list))
	return strings.Join(list, ", ")
}

func runTrace(args []string, stdout, stderr io.Writer) error {
	f, socket := client()
	if err := f.parse(args, stderr, 1, 1, "a host name, or '*'"); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), terminate...)
	defer stop()
	err := control.Stream(ctx, *socket, "trace", daemon.TraceRequest{Host: f.args[0]}, func(line json.RawMessage) error {
		return writeEvent(stdout, line)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func writeEvent(w io.Writer, line json.RawMessage) error {
	var e daemon.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	fmt.Fprintf(w, "%s %s %s %s: %s, rule %s, %s\n", e.Time.Format("15:04:05.000"), e.Flow, e.Proto, strconv.Quote(e.Host), e.Why, e.Rule, e.Strategy)
	for _, p := range e.Packets {
		if _, err := fmt.Fprintf(w, "    %s\n", p); err != nil {
			return err
		}
	}
	return nil
}

func runPause(args []string, stdout, stderr io.Writer) error {
	f, socket := client()
	if err := f.parse(args, stderr, 1, 1, "minutes"); err != nil {
		return err
	}
	minutes, err := strconv.Atoi(f.args[0])
	if err != nil {
		return usageError{fmt.Sprintf("%q is not a number of minutes", f.args[0])}
	}
	if err := control.Call(*socket, "pause", daemon.PauseRequest{Minutes: minutes}, nil); err != nil {
		return err
	}
	if minutes > 0 {
		fmt.Fprintf(stdout, "paused for %d minutes\n", minutes)
	} else {
		fmt.Fprintln(stdout, "going on")
	}
	return nil
}
