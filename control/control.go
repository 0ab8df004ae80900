// Package control lets b4d's subcommands and the router's web interface talk to
// the running daemon: a unix socket that speaks JSON, one object a line.
//
// A client connects, sends one request and reads until the server hangs up:
//
//	{"method":"status","params":{"rules":true}}
//	{"result":{"engine":"nfqueue"}}
//
// or, where the request cannot be served, {"error":"…"}. A streaming method
// sends many results and ends when either side hangs up.
//
// Only root is answered. A request has a length, a time to come in and a nesting
// (of package json), and there are so many clients at a time: see the constants.
package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"b4/unixsock"

	"golang.org/x/sys/unix"
)

const (
	maxRequest = 64 << 10 // bytes; a request is a method and a few words
	maxConns   = 16       // clients at a time: the web interface, a few traces
	// requestLimit is the time for a client to say what it wants, so that idle
	// connections do not use up maxConns.
	requestLimit = 5 * time.Second
	// writeLimit is the time for a client to take a line. One that does not
	// read loses its connection.
	writeLimit = 5 * time.Second
	// shortWait is how long clients wait while b4d can open no more files: long
	// enough to cost nothing.
	shortWait = 100 * time.Millisecond
	// callLimit bounds Call, which nobody should have to interrupt.
	callLimit = 10 * time.Second
)

var (
	// ErrRunning is wrapped by Listen where another daemon serves the socket.
	ErrRunning = errors.New("b4d is already running")
	// ErrNotRunning is wrapped by Call and Stream where there is no socket.
	ErrNotRunning = errors.New("b4d is not running")
)

// reserved are methods that later versions will have.
var reserved = []string{"discover", "events"}

type request struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

// byRoot asks the kernel who made the other end of a connection: root, or the
// user that this process runs as. The socket's mode lets nobody else connect; this
// holds before it has that, where another program changed it, and where one
// handed a connection on.
func byRoot(conn *unixsock.Conn) error {
	peer, err := conn.Peer()
	if err != nil {
		return fmt.Errorf("ask who is there: %w", err)
	}
	if peer.Uid != 0 && int(peer.Uid) != unix.Geteuid() {
		return fmt.Errorf("user %d is not root", peer.Uid)
	}
	return nil
}

// A reply has a result, which may be null, or an error.
type reply struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// parseRequest reads one line. Keys that it does not know are left for later
// versions to mean something by.
func parseRequest(line []byte) (r request, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return request{}, fmt.Errorf("request is not JSON of the form {\"method\":…,\"params\":…}: %w", err)
	}
	if r.Method == "" {
		return request{}, errors.New(`request has no "method"`)
	}
	if bytes.Equal(r.Params, []byte("null")) {
		r.Params = nil
	}
	return r, nil
}

// encode is the line that answers with err, or with v where err is nil.
func encode(v any, err error) []byte {
	var r reply
	if err == nil {
		if r.Result, err = json.Marshal(v); err != nil {
			err = fmt.Errorf("write the result as JSON: %w", err)
		}
	}
	if err != nil {
		r = reply{Error: err.Error()}
	}
	b, _ := json.Marshal(r) // a string and what Marshal made: it cannot fail
	return append(b, '\n')
}
