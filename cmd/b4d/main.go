// Command b4d makes blocked sites open for every device behind a router. See
// `b4d help`.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"b4/control"
	"b4/daemon"
	"b4/uci"
)

// version is set by the build (-ldflags -X main.version=…).
var version = "0.1.0"

// Exit codes besides 0.
const (
	exitFailed  = 1 // it did not work
	exitRefused = 2 // the configuration or the command line is wrong
	exitStopped = 3 // there is no b4d to ask
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
  call METHOD [JSON] [-out FILE]
                     ask the running b4d, as scripts do; the answer is JSON, written
                     to FILE, which must be new, if one is named
  strategies [-json] the steps that strategies are made of
  cleanup            remove what a killed b4d may have left
  version            the version alone

FILE is /etc/config/b4. status, trace, pause, call and cleanup take -socket PATH.
Exit codes: 1 it did not work, 2 the command line or the configuration is wrong, 3 b4d
does not run.
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
		"strategies": runStrategies, "call": runCall,
		"cleanup": runCleanup, "version": runVersion, "--version": runVersion, "-version": runVersion,
		"help": runHelp, "-h": runHelp, "--help": runHelp, "-help": runHelp,
	}[args[0]]
	if !ok {
		fmt.Fprintf(stderr, "b4d: unknown command %q\n%s", args[0], usage)
		return exitRefused
	}
	err := run(args[1:], stdout, stderr)
	var bad usageError
	switch {
	case err == nil || errors.Is(err, errHelp):
		return 0
	case errors.As(err, &bad):
		fmt.Fprintf(stderr, "b4d %s: %s\n", args[0], bad.text)
		return exitRefused
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(stderr, "b4d: %s\n", line)
	}
	var wrong *daemon.ConfigError
	switch {
	case args[0] == "check" || errors.As(err, &wrong):
		return exitRefused
	case errors.Is(err, control.ErrNotRunning):
		return exitStopped
	}
	return exitFailed
}

// A usageError is a command line b4d does not understand.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// options reads the options that run and check share, besides those f has.
func options(f *flags, args []string, stderr io.Writer) (daemon.Options, error) {
	config, set := f.text("config", uci.DefaultPath), f.list("set")
	err := f.parse(args, stderr, 0, 0, "no arguments, only options")
	o := daemon.Options{Version: version, Config: *config, Overrides: *set}
	if o.Config == uci.DefaultPath {
		o.Config = "" // and then /var/run/uci/b4 takes its place where it exists
	}
	return o, err
}

func runCheck(args []string, stdout, stderr io.Writer) error {
	f := new(flags)
	offline := f.toggle("offline")
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
	f, socket := client()
	if err := f.parse(args, stderr, 0, 0, "no arguments"); err != nil {
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
