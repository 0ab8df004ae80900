package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"b4/control"

	"golang.org/x/sys/unix"
)

// runCall asks any method, for scripts. What it is answered goes to stdout or into a
// file, a line of JSON. A file gets an error too, as {"error":"..."}: who cannot
// read stderr reads that.
func runCall(args []string, stdout, stderr io.Writer) error {
	f, socket := client()
	out := f.text("out", "")
	if err := f.parse(args, stderr, 1, 2, "a method, and perhaps its parameters"); err != nil {
		return err
	}
	var params any
	if len(f.args) == 2 {
		if !json.Valid([]byte(f.args[1])) {
			return usageError{"the parameters are not JSON"}
		}
		params = json.RawMessage(f.args[1])
	}
	if *out != "" {
		file, err := create(*out)
		if err != nil {
			return err
		}
		defer file.Close()
		stdout = file
	}
	var answer json.RawMessage
	err := control.Call(*socket, f.args[0], params, &answer)
	if err != nil && *out == "" {
		return err
	}
	if err != nil {
		answer, _ = json.Marshal(map[string]string{"error": err.Error()}) // a string always can be
	}
	_, wrong := fmt.Fprintf(stdout, "%s\n", answer)
	return errors.Join(err, wrong)
}

// descriptors is where a process has the files that are open to it.
const descriptors = "/proc/self/fd"

// create makes a file for the owner alone. What has that name already, be it a link,
// is left as it is, and in a directory of somebody else's, who could rename the file,
// there is none. A descriptor that was handed on is taken as it is.
func create(path string) (*os.File, error) {
	dir := filepath.Dir(path)
	if dir == descriptors {
		return os.OpenFile(path, os.O_WRONLY, 0)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", dir, err)
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to another user", dir)
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}
