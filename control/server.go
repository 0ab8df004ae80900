package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"b4/unixsock"

	"golang.org/x/sys/unix"
)

// A Handler serves one request. params is nil where the request has none. ctx
// ends when the client hangs up or the server closes.
//
// emit sends one result ahead of the returned one, and fails once the client is
// gone; it is for one goroutine at a time and may block for some seconds, so
// never call it on the packet path. A handler that has emitted and returns nil
// has said all.
type Handler func(ctx context.Context, params json.RawMessage, emit func(v any) error) (any, error)

// A Server answers on a unix socket.
type Server struct {
	l    listener
	path string
	self fs.FileInfo // the socket as this server made it

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	once sync.Once // Close

	requestLimit, writeLimit time.Duration

	mu       sync.Mutex
	handlers map[string]Handler
	conns    int
}

// A listener is a *unixsock.Listener.
type listener interface {
	Accept() (*unixsock.Conn, error)
	Close() error
}

// Listen makes the socket, for root alone, and its directory if need be; that is
// to be one that only root writes to. The socket of a daemon that died is
// replaced; where one lives the error wraps ErrRunning.
func Listen(path string) (*Server, error) {
	if err := makeWay(path); err != nil {
		return nil, err
	}
	l, err := bind(path)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	self, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	s := &Server{
		l: l, path: path, self: self,
		requestLimit: requestLimit, writeLimit: writeLimit,
		handlers: map[string]Handler{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Cleanup removes the socket of a daemon that died. None is no error; where one
// lives the error wraps ErrRunning.
func Cleanup(path string) error { return makeWay(path) }

// makeWay removes a socket at path that nobody serves.
func makeWay(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket %s: there is something else of that name", path)
	}
	conn, err := unixsock.Dial(path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%w (socket %s)", ErrRunning, path)
	case errors.Is(err, unix.EAGAIN): // its backlog is full
		return fmt.Errorf("%w, and does not answer (socket %s)", ErrRunning, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("try control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale control socket: %w", err)
	}
	return nil
}

// bind listens on path. It does so under the name that stays, so that a b4d that
// is killed here leaves no other. Until the socket has its mode, byRoot alone
// keeps others out.
func bind(path string) (*unixsock.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	l, err := unixsock.Listen(path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Handle sets what serves method.
func (s *Server) Handle(method string, h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[method] = h
}

// Serve answers clients until Close, and returns when the last handler has
// returned. Close is no error.
func (s *Server) Serve() error {
	var clients sync.WaitGroup
	defer clients.Wait()
	defer s.stop()
	for {
		conn, err := s.l.Accept()
		if s.ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if short(err) {
			time.Sleep(shortWait)
			continue
		}
		if err != nil {
			return fmt.Errorf("accept control client: %w", err)
		}
		if !s.enter() {
			s.refuse(conn)
			continue
		}
		clients.Add(1)
		go func() {
			defer clients.Done()
			defer s.leave()
			s.serve(conn)
		}()
	}
}

// short tells of an error that passes: descriptors or memory have run out.
func short(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// Close ends Serve and every client's connection and removes the socket, unless
// another has taken its place. It is idempotent.
func (s *Server) Close() (err error) {
	s.once.Do(func() {
		s.stop()
		// While the listener lives, no other daemon takes the name for stale.
		if info, e := os.Lstat(s.path); e == nil && os.SameFile(info, s.self) {
			err = os.Remove(s.path)
		}
		if err = errors.Join(err, s.l.Close()); err != nil {
			err = fmt.Errorf("close control socket: %w", err)
		}
	})
	return err
}

// enter counts a client in where there is room.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == maxConns {
		return false
	}
	s.conns++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
}

func (s *Server) refuse(conn *unixsock.Conn) {
	defer conn.Close()
	s.send(conn, encode(nil, fmt.Errorf("b4d has %d clients already", maxConns)))
}

// serve answers one client's request.
func (s *Server) serve(conn *unixsock.Conn) {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	h, params, err := s.hear(conn)
	if err != nil {
		s.send(conn, encode(nil, err))
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		io.Copy(io.Discard, conn)
		cancel()
	}()
	s.answer(ctx, conn, h, params)
	conn.Close()
	<-hungUp
}

// hear reads the request and finds who serves it.
func (s *Server) hear(conn *unixsock.Conn) (Handler, json.RawMessage, error) {
	if err := byRoot(conn); err != nil {
		return nil, nil, err
	}
	text, err := s.readRequest(conn)
	if err != nil {
		return nil, nil, err
	}
	r, err := parseRequest(text)
	if err != nil {
		return nil, nil, err
	}
	h, err := s.handler(r.Method)
	return h, r.Params, err
}

// answer runs the handler and sends what it says. A client that has only closed
// its sending side still gets the result.
func (s *Server) answer(ctx context.Context, conn *unixsock.Conn, h Handler, params json.RawMessage) {
	emitted := false
	v, err := h(ctx, params, func(v any) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		emitted = true
		return s.send(conn, encode(v, nil))
	})
	if emitted && v == nil && err == nil {
		return
	}
	s.send(conn, encode(v, err))
}

// handler is what serves method.
func (s *Server) handler(method string) (Handler, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.handlers[method]; ok {
		return h, nil
	}
	if slices.Contains(reserved, method) {
		return nil, fmt.Errorf("method %s is reserved for a later version", method)
	}
	var known []string
	for name := range s.handlers {
		known = append(known, name)
	}
	sort.Stable(sort.StringSlice(known)) // slices.Sort has code for strings of its own, 4 kB of the package
	return nil, fmt.Errorf("unknown method %.40q; known are: %s", method, strings.Join(known, ", "))
}

// readRequest reads one line, or all there is if no line ends.
func (s *Server) readRequest(conn *unixsock.Conn) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(s.requestLimit)); err != nil {
		return nil, err
	}
	text, err := bufio.NewReader(io.LimitReader(conn, maxRequest+1)).ReadBytes('\n')
	switch {
	case len(text) > maxRequest:
		return nil, fmt.Errorf("request is longer than %d bytes", maxRequest)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read the request: %w", err)
	}
	return text, conn.SetReadDeadline(time.Time{})
}

// send writes one line. A client that does not take it loses its connection:
// half a line is no line.
func (s *Server) send(conn *unixsock.Conn, text []byte) error {
	err := conn.SetWriteDeadline(time.Now().Add(s.writeLimit))
	if err == nil {
		_, err = conn.Write(text)
	}
	if err != nil {
		conn.Close()
	}
	return err
}
