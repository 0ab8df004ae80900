// b4lab tries strategies on model censors without a network.
//
//	b4lab matrix [-o file]
//
// writes every strategy on every profile as Markdown, to standard output or into
// a file.
package main

import (
	"flag"
	"fmt"
	"os"

	"b4/lab/matrix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "b4lab:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || args[0] != "matrix" {
		return fmt.Errorf("want a command: matrix [-o file]")
	}
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	path := flags.String("o", "", "write into this `file`")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	tables, err := matrix.All()
	if err != nil {
		return err
	}
	text := matrix.Markdown(tables)
	if *path == "" {
		_, err = os.Stdout.WriteString(text)
		return err
	}
	return os.WriteFile(*path, []byte(text), 0o644)
}
