package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// terminate are the signals that end b4d in good order.
var terminate = []os.Signal{unix.SIGTERM, unix.SIGINT}

// hangups gives a value for each SIGHUP; several at once may be one.
func hangups() <-chan struct{} {
	signals, c := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, unix.SIGHUP)
	go func() {
		for range signals {
			c <- struct{}{}
		}
	}()
	return c
}
