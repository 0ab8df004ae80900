package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"b4/unixsock"

	"golang.org/x/sys/unix"
)

// Call asks the daemon at path and decodes the answer into result, which may be
// nil. params may be nil too. Without a daemon the error wraps ErrNotRunning;
// an error of the method's is the daemon's own text.
func Call(path, method string, params, result any) error {
	conn, err := ask(path, method, params)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(callLimit)); err != nil {
		return fmt.Errorf("ask b4d: %w", err)
	}
	raw, err := receive(json.NewDecoder(conn))
	if errors.Is(err, io.EOF) {
		return errors.New("b4d hung up without an answer")
	}
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return fmt.Errorf("understand b4d's answer: %w", err)
	}
	return nil
}

// Stream asks the daemon at path and gives each result to each, until the
// daemon has said all (nil), ctx ends (its error), each fails (that error), or
// the daemon answers with an error.
func Stream(ctx context.Context, path, method string, params any, each func(json.RawMessage) error) error {
	conn, err := ask(path, method, params)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for d := json.NewDecoder(conn); ; {
		raw, err := receive(d)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(raw); err != nil {
			return err
		}
	}
}

// ask connects and sends the request.
func ask(path, method string, params any) (*unixsock.Conn, error) {
	r := request{Method: method}
	if params != nil {
		var err error
		if r.Params, err = json.Marshal(params); err != nil {
			return nil, fmt.Errorf("write the request as JSON: %w", err)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write the request as JSON: %w", err)
	}
	if len(text) >= maxRequest {
		return nil, fmt.Errorf("request is longer than %d bytes", maxRequest)
	}
	conn, err := unixsock.Dial(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (no socket %s)", ErrNotRunning, path)
	}
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("reach b4d: only root may: %w", err)
	case errors.Is(err, unix.EAGAIN): // its backlog is full
		return nil, fmt.Errorf("reach b4d: it does not answer: %w", err)
	default:
		return nil, fmt.Errorf("%w (nobody serves socket %s)", ErrNotRunning, path)
	}
	if err := byRoot(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("socket %s is not b4d's: %w", path, err)
	}
	err = conn.SetWriteDeadline(time.Now().Add(callLimit))
	if err == nil {
		_, err = conn.Write(append(text, '\n'))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		conn.Close()
		return nil, fmt.Errorf("ask b4d: %w", err)
	}
	// Otherwise the server has hung up on us; why can still be read.
	return conn, nil
}

// receive reads one reply.
func receive(d *json.Decoder) (json.RawMessage, error) {
	var r reply
	if err := d.Decode(&r); errors.Is(err, io.EOF) {
		return nil, io.EOF
	} else if err != nil {
		return nil, fmt.Errorf("read b4d's answer: %w", err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return r.Result, nil
}
