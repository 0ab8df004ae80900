package lab

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// b4Table is b4d's own, as Tables writes it.
const b4Table = "inet b4"

// LaunchB4D is StartB4D that returns as soon as b4d's rules are in the kernel,
// which is before it answers, and does not run the program once more to ask it.
func (l *Lab) LaunchB4D(path, config string) (*B4D, error) {
	d, err := l.launch(path, config)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(l.patience(startLimit))
	for {
		tables, err := l.Router.Tables()
		if err == nil && slices.Contains(tables, b4Table) {
			return d, nil
		}
		select {
		case <-d.ended:
			return nil, errors.Join(fmt.Errorf("b4d ended with %v:\n%s", d.cmd.ProcessState, d.Log()), d.Kill())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("b4d makes no table: %w\n%s", err, d.Log()), d.Kill())
		}
	}
}
