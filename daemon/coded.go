package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"b4/netif"
)

// A coded is an error that can be said in other words.
type coded struct {
	error
	told []Finding
}

func (e *coded) Unwrap() error { return e.error }

// fail is fmt.Errorf with a code. Errors among the values are no arguments.
func fail(code, format string, values ...any) error {
	err := fmt.Errorf(format, values...)
	f := Finding{Code: code, Text: err.Error()}
	for _, v := range values {
		if _, is := v.(error); !is {
			f.Args = append(f.Args, fmt.Sprint(v))
		}
	}
	return &coded{err, []Finding{f}}
}

// causes are the parts of err, nil where none has a code.
func causes(err error) []Finding {
	if parts, some := divide(err); some {
		return parts
	}
	return nil
}

// divide finds the parts of err, and whether one has a code: the others are texts.
// What only says where an error came from is left out.
func divide(err error) (parts []Finding, some bool) {
	switch e := err.(type) {
	case *coded:
		return slices.Clone(e.told), true
	case netif.UnknownError:
		return []Finding{{Code: "unknown", Text: e.Error(), Args: []string{string(e)}}}, true
	case *fs.PathError:
		if errors.Is(e, fs.ErrNotExist) {
			return []Finding{{Code: "no_file", Text: e.Error(), Args: []string{e.Path}}}, true
		}
	case *optionError:
		parts, some = divide(e.cause)
		for i := range parts {
			parts[i].Where = e.at.String() + ": " + e.option
		}
		return parts, some
	case interface{ Unwrap() []error }:
		parts, some = divideAll(e.Unwrap(), errors.Join(e.Unwrap()...).Error() == err.Error())
	case interface{ Unwrap() error }:
		parts, some = divide(e.Unwrap())
	}
	if !some && len(parts) < 2 {
		parts = []Finding{{Text: err.Error()}}
	}
	return parts, some
}

// divideAll is divide for several errors, of which those without a code count only
// where they are joined, and not where they are put into one sentence.
func divideAll(errs []error, joined bool) (all []Finding, some bool) {
	for _, err := range errs {
		parts, coded := divide(err)
		if some = some || coded; coded || joined {
			all = append(all, parts...)
		}
	}
	return all, some
}
