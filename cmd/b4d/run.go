package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"b4/confine"
	"b4/daemon"
	"b4/uci"

	"golang.org/x/sys/unix"
)

// The main goroutine is on the process's first thread until runDaemon has no
// more need of it.
func init() { runtime.LockOSThread() }

func runDaemon(args []string, _, stderr io.Writer) error {
	o, err := options(new(flags), args, stderr)
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
	o.Memory = limitMemory
	if conf, _, err := uci.Load(o.Config, o.Overrides...); err == nil { // else it is daemon's to say
		limitMemory(conf.Main.MemoryLimit) // already for the lists
		if conf.Main.Confine {
			giveUp(&o)
		}
	}
	runtime.UnlockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), terminate...)
	defer stop()
	return daemon.New(o).Run(ctx, hangups())
}

// limitMemory has Go collect more often where b4d needs nearly so many MiB; 0 is no
// limit.
func limitMemory(mib int) {
	limit := int64(math.MaxInt64)
	if mib > 0 {
		limit = int64(mib) << 20
	}
	debug.SetMemoryLimit(limit)
}

// giveUp leaves b4d what it needs. A router on which that does not work gets by
// without, and is told: now, and by each status.
func giveUp(o *daemon.Options) {
	if err := confine.Apply(); err != nil {
		o.Log.Warn("b4d keeps more than it needs", "why", err)
	}
	for _, note := range confine.Notes() { // for good: no thread gets back what the others have given up
		o.Notes = append(o.Notes, daemon.Finding{Code: note.Code, Text: note.Text, Args: []string{note.Text}})
		o.Log.Warn("b4d keeps more than it needs", "why", note.Text)
	}
}
