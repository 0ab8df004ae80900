package daemon

import (
	"strings"

	"b4/uci"
)

// An optionError is an error that an option is to blame for.
type optionError struct {
	at     uci.Place
	option string // "section.option"
	cause  error
}

// Error puts the place before each line of the cause.
func (e *optionError) Error() string {
	lines := strings.Split(e.cause.Error(), "\n")
	for i, line := range lines {
		lines[i] = e.at.String() + ": " + e.option + ": " + line
	}
	return strings.Join(lines, "\n")
}

func (e *optionError) Unwrap() error { return e.cause }

// wrong is an error at the place of an option, or of the whole file where the
// option is not set.
func (s *settings) wrong(option string, err error) error {
	at := s.conf.Place(option)
	if at == (uci.Place{}) {
		at.File = s.file
	}
	return &optionError{at, option, err}
}
