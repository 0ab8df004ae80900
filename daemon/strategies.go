package daemon

import (
	"context"

	"b4/desync"
)

// A Language is all that strategies may be made of.
type Language struct {
	Steps   []desync.StepHelp   `json:"steps"`
	Markers []desync.MarkerHelp `json:"markers"` // that positions may name
}

// Strategies returns the strategy language.
func Strategies() Language { return Language{desync.Steps(), desync.Markers()} }

func (d *Daemon) handleStrategies(context.Context, None, func(any) error) (any, error) {
	return Strategies(), nil
}
