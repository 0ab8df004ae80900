package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// A flags is the options of a subcommand: -name VALUE, -name=VALUE, or -name alone
// for those that are on or off. Package flag makes b4's package 10 kB larger.
type flags struct {
	options []option
	args    []string // what is no option
}

type option struct {
	name string
	set  func(value string)
	bare bool // it takes no value
}

// errHelp is what parse returns where help is asked for.
var errHelp = errors.New("help")

// text adds an option that has a value, by default def.
func (f *flags) text(name, def string) *string {
	f.options = append(f.options, option{name: name, set: func(v string) { def = v }})
	return &def
}

// list adds an option that may be given several times.
func (f *flags) list(name string) *[]string {
	var all []string
	f.options = append(f.options, option{name: name, set: func(v string) { all = append(all, v) }})
	return &all
}

// toggle adds an option that is off unless it is given.
func (f *flags) toggle(name string) *bool {
	on := false
	f.options = append(f.options, option{name, func(string) { on = true }, true})
	return &on
}

// parse reads a command line of least to most arguments, described by want, and
// options anywhere ahead of "--".
func (f *flags) parse(args []string, stderr io.Writer, least, most int, want string) error {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			f.args = append(f.args, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			f.args = append(f.args, arg)
			continue
		}
		var err error
		if args, err = f.option(arg, args); err != nil {
			if err == errHelp {
				fmt.Fprint(stderr, usage)
			}
			return err
		}
	}
	if n := len(f.args); n < least || n > most {
		return usageError{"want " + want}
	}
	return nil
}

// option reads the option arg, whose value may be the first of rest, and returns what
// is left of that.
func (f *flags) option(arg string, rest []string) ([]string, error) {
	name, value, given := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
	if name == "h" || name == "help" {
		return nil, errHelp
	}
	for _, o := range f.options {
		switch {
		case o.name != name:
			continue
		case o.bare && given:
			return nil, usageError{"option -" + name + " takes no value"}
		case !o.bare && !given && len(rest) == 0:
			return nil, usageError{"option -" + name + ": want a value"}
		case !o.bare && !given:
			value, rest = rest[0], rest[1:]
		}
		o.set(value)
		return rest, nil
	}
	return nil, usageError{"unknown option " + arg}
}
