package main

import (
	"fmt"
	"io"
	"os"

	"b4/lab"
)

// yardsticks are variants of our own making, which tell what there is to gain.
func yardsticks() []variant {
	start := func(verb string) func(l *lab.Lab) (daemon, error) {
		return func(l *lab.Lab) (daemon, error) {
			h, err := startHelper(l.Router, verb)
			if err != nil {
				return nil, err
			}
			return h, nil
		}
	}
	return []variant{
		{name: "floor", what: "b4's rules and its way to talk to the kernel, with a handler that cuts long packets at a fixed place: what the kernel and Go's runtime take",
			queue: lab.YardstickQueue, start: start("floor")},
		{name: "naive", what: "a TUN without offloads, whose packets are read one by one and written back: what a first attempt gives",
			start: start("naive")},
	}
}

// yardstick makes the program one of the lab's. It ends with its standard input.
func yardstick(verb string) func() error {
	return func() error {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		return lab.Yardsticks[verb](func() { fmt.Println("ready") })
	}
}
