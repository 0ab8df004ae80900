package engine

import (
	"errors"
	"os"
	"testing"
)

func TestLife(t *testing.T) {
	var l Life[int]
	open := func() (*int, error) { return new(int), nil }
	nothing := func(*int) error { return nil }
	if err := l.Run(nothing); err != ErrNotStarted {
		t.Errorf("run ahead of start: %v", err)
	}
	if err := l.Start(func() (*int, error) { return nil, errBroken }); err != errBroken {
		t.Errorf("start that fails: %v", err)
	}
	if err := l.Start(open); err != nil {
		t.Errorf("start again: %v", err)
	}
	if err := l.Start(open); err != ErrStarted {
		t.Errorf("start twice: %v", err)
	}
	running, woken, ended := make(chan bool), make(chan bool), false
	done := make(chan error)
	go func() {
		done <- l.Run(func(*int) error { close(running); <-woken; ended = true; return errBroken })
	}()
	<-running
	if err := l.Run(nothing); err != ErrBusy {
		t.Errorf("run twice: %v", err)
	}
	released := 0
	closing := func() error {
		return l.Close(func(*int) error { close(woken); return errBroken }, func(*int) error {
			if released++; !ended {
				t.Error("released under a run")
			}
			return nil
		})
	}
	if err := closing(); !errors.Is(err, errBroken) || <-done != errBroken {
		t.Errorf("close: %v", err)
	}
	if err := closing(); err != nil || released != 1 {
		t.Errorf("close twice: %v, released %d times", err, released)
	}
	if err := l.Run(nothing); err != nil {
		t.Errorf("run after close: %v", err)
	}
	if err := l.Start(open); err != os.ErrClosed {
		t.Errorf("start after close: %v", err)
	}
	if err := new(Life[int]).Close(nothing, nothing); err != nil {
		t.Errorf("close of what never began: %v", err)
	}
}
