// Command b4d makes blocked sites open for every device behind a router. See
// `b4d help`.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"b4/daemon"
	"b4/uci"
)

// version is set by the build (-ldflags -X main.version=…).
var version = "0.1.0"

// Exit codes besides 0.
const (
	exitFailed  = 1 // it did not work
	exitRefused = 2 // the configuration or the command line is wrong
)

const usage = `usage: b4d COMMAND [options]

  run [-config FILE] [-set section.option=value …]
                     treat packets until SIGTERM; SIGHUP reads FILE anew
  check [-config FILE] [-set section.option=value …] [-offline]
                     validate, and print the plan in force with FILE; touches nothing;
                     -offline does not ask the kernel and for interfaces either
  status [-json]     how the running b4d is
  trace HOST         what happens to the packets to HOST and names below it, live
  pause MINUTES      change nothing on the wire for a while; 0 ends it
  strategies [-json] the steps that strategies are made of
  cleanup            remove what a killed b4d may have left
  version            the version alone

FILE is /etc/config/b4. status, trace, pause and cleanup take -socket PATH.
`

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// command runs one subcommand and returns its exit code.
func command(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitRefused
	}
	run, ok := map[string]func([]string, io.Writer, io.Writer) error{
		"run": runDaemon, "check": runCheck, "status": runStatus, "trace": runTrace, "pause": runPause,
		"strategies": runStrategies,
		"cleanup":    runCleanup, "version": runVersion, "--version": runVersion, "-version": runVersion,
		"help": runHelp, "-h": runHelp, "--help": runHelp, "-help": runHelp,
	}[args[0]]
	if !ok {
		fmt.Fprintf(stderr, "b4d: unknown command %q\n%s", args[0], usage)
		return exitRefused
	}
	err := run(args[1:], stdout, stderr)
	var bad usageError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &bad):
		fmt.Fprintf(stderr, "b4d %s: %s\n", args[0], bad.text)
		return exitRefused
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(stderr, "b4d: %s\n", line)
	}
	if args[0] == "check" {
		return exitRefused
	}
	return exitFailed
}

// A usageError is a command line b4d does not understand.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// parse reads the flags of a subcommand that takes n arguments more.
func parse(f *flag.FlagSet, args []string, stderr io.Writer, n int, want string) error {
	f.SetOutput(io.Discard)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(stderr, usage)
			return err
		}
		return usageError{err.Error()}
	}
	if f.NArg() != n {
		return usageError{"want " + want}
	}
	return nil
}

// list gathers a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// options reads the flags that run and check share, besides those f has.
func options(f *flag.FlagSet, args []string, stderr io.Writer) (daemon.Options, error) {
	o := daemon.Options{Version: version}
	var set list
	f.StringVar(&o.Config, "config", uci.DefaultPath, "the configuration")
	f.Var(&set, "set", "`section.option=value` in place of what the configuration says; may be given again")
	err := parse(f, args, stderr, 0, "no arguments, only options")
	if o.Config == uci.DefaultPath {
		o.Config = "" // and then /var/run/uci/b4 takes its place where it exists
	}
	o.Overrides = set
	return o, err
}

func runCheck(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("check", flag.ContinueOnError)
	offline := f.Bool("offline", false, "look at the configuration alone")
	o, err := options(f, args, stderr)
	if err != nil {
		return err
	}
	if *offline {
		return daemon.CheckFile(o, stdout)
	}
	return daemon.Check(o, stdout)
}

func runCleanup(args []string, _, stderr io.Writer) error {
	f, socket := client("cleanup")
	if err := parse(f, args, stderr, 0, "no arguments"); err != nil {
		return err
	}
	return daemon.Cleanup(*socket)
}

func runVersion(_ []string, stdout, _ io.Writer) error {
	fmt.Fprintln(stdout, version)
	return nil
}

func runHelp(_ []string, stdout, _ io.Writer) error {
	fmt.Fprint(stdout, usage)
	return nil
}
