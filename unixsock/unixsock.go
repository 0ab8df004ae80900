// Package unixsock has stream sockets of the family unix. Those of package net would
// do, and are a fiftieth of b4d.
package unixsock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A Conn is a connected socket. Its Read, Write, deadlines and Close are a file's: what
// takes too long fails with os.ErrDeadlineExceeded, and Close ends what is under way.
type Conn struct{ *os.File }

// Dial connects to the socket at path. It never waits: where the backlog is full the
// error is EAGAIN at once. An error is a *fs.PathError.
func Dial(path string) (*Conn, error) {
	fd, err := open(path, unix.Connect)
	if err != nil {
		return nil, &fs.PathError{Op: "connect to", Path: path, Err: err}
	}
	return &Conn{os.NewFile(uintptr(fd), path)}, nil
}

// open makes a socket that does not block, and has do connect or bind it.
func open(path string, do func(fd int, sa unix.Sockaddr) error) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := do(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Peer is who has made the other end, as the kernel saw it then (SO_PEERCRED in
// unix(7)).
func (c *Conn) Peer() (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	failed := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return peer, errors.Join(failed, err)
}

// A Listener is a socket that others connect to.
type Listener struct {
	file *os.File
	raw  interface {
		Read(func(fd uintptr) bool) error
	}
}

// Listen makes a socket at path, where nothing may be. An error is a *fs.PathError.
func Listen(path string) (*Listener, error) {
	fd, err := open(path, func(fd int, sa unix.Sockaddr) error {
		if err := unix.Bind(fd, sa); err != nil {
			return err
		}
		return unix.Listen(fd, unix.SOMAXCONN)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "listen on", Path: path, Err: err}
	}
	l := &Listener{file: os.NewFile(uintptr(fd), path)}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Accept waits for somebody to connect, or for Close, which is an error.
func (l *Listener) Accept() (*Conn, error) {
	var fd int
	var err error
	failed := l.raw.Read(func(listener uintptr) bool {
		for {
			fd, _, err = unix.Accept4(int(listener), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != unix.EINTR && err != unix.ECONNABORTED { // who has hung up again is not waited for
				return err != unix.EAGAIN
			}
		}
	})
	if err := errors.Join(failed, err); err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	return &Conn{os.NewFile(uintptr(fd), l.file.Name())}, nil
}

// Close ends Accept. What stands at the path stays.
func (l *Listener) Close() error { return l.file.Close() }
