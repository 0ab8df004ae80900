package main

import (
	"fmt"
	"io"
	"strings"

	"b4/daemon"
)

func runStrategies(args []string, stdout, stderr io.Writer) error {
	f := new(flags)
	asJSON := f.toggle("json")
	if err := f.parse(args, stderr, 0, 0, "no arguments"); err != nil {
		return err
	}
	lang := daemon.Strategies()
	if *asJSON {
		return printJSON(stdout, lang)
	}
	writeLanguage(stdout, &lang)
	return nil
}

// writeLanguage writes a step a paragraph, in the order of phases.
func writeLanguage(w io.Writer, l *daemon.Language) {
	phase := ""
	for i := range l.Steps {
		s := &l.Steps[i]
		if s.Phase != phase {
			phase = s.Phase
			fmt.Fprintf(w, "steps of phase %s\n", phase)
		}
		fmt.Fprintf(w, "  %s (%s)\n      %s\n", s.Usage(), strings.Join(s.For, ", "), s.Help)
		for _, p := range s.Params {
			fmt.Fprintf(w, "      %-8s %s", p.Name, p.Help)
			if values := p.Values(); values != "" {
				fmt.Fprintf(w, " (%s)", values)
			}
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintln(w, "markers of positions")
	for _, m := range l.Markers {
		fmt.Fprintf(w, "  %-8s (%s) %s\n", m.Name, strings.Join(m.For, ", "), m.Help)
	}
}
