package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"

	"b4/confine"
	"b4/daemon"
	"b4/uci"

	"golang.org/x/sys/unix"
)

// The main goroutine is on the process's first thread until runDaemon has no
// more need of it.
func init() { runtime.LockOSThread() }

func runDaemon(args []string, _, stderr io.Writer) error {
	o, err := options(flag.NewFlagSet("run", flag.ContinueOnError), args, stderr)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("run needs root: CAP_NET_ADMIN and CAP_NET_RAW")
	}
	o.Level = new(slog.LevelVar)
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: o.Level}))
	// Until b4d listens for it, also while it is executed anew: it is about to read the
	// configuration, which is all that is asked for, and would die of it.
	signal.Ignore(unix.SIGHUP)
	giveUp(&o)
	runtime.UnlockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), terminate...)
	defer stop()
	return daemon.New(o).Run(ctx, hangups())
}

// giveUp leaves b4d what it needs, unless main.confine is off. A router on which
// that does not work gets by without, and is told: now, and by each status.
func giveUp(o *daemon.Options) {
	conf, _, err := uci.Load(o.Config, o.Overrides...)
	if err != nil || !conf.Main.Confine {
		return // what is wrong with the configuration is daemon's to say
	}
	if err := confine.Apply(); err != nil {
		o.Log.Warn("b4d keeps more than it needs", "why", err)
	}
	o.Notes = confine.Notes
	for _, note := range o.Notes() {
		o.Log.Warn("b4d keeps more than it needs", "why", note)
	}
}
