package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"b4/lab/matrix"
	"b4/tlshello"
)

// A stretching makes the first that is written, a hello, one of a kind.
type stretching struct {
	net.Conn
	kind matrix.Kind
	done bool
}

func (c *stretching) Write(b []byte) (int, error) {
	if c.done {
		return c.Conn.Write(b)
	}
	c.done = true
	if _, err := c.Conn.Write(c.kind.Stretch(slices.Clone(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A shrinking accepts connections that stretching are at the other end of.
type shrinking struct{ net.Listener }

func (ln shrinking) Accept() (net.Conn, error) {
	c, err := ln.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &shrunk{Conn: c}, nil
}

// A shrunk takes away from the first that is read what a stretching put there.
type shrunk struct {
	net.Conn
	hello []byte // read and not yet given out
	done  bool
}

func (c *shrunk) Read(b []byte) (int, error) {
	if !c.done {
		c.done = true
		if err := c.readHello(); err != nil {
			return 0, err
		}
	}
	if len(c.hello) > 0 {
		n := copy(b, c.hello)
		c.hello = c.hello[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *shrunk) readHello() error {
	head := make([]byte, 5)
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return err
	}
	h := append(head, make([]byte, binary.BigEndian.Uint16(head[3:]))...)
	if _, err := io.ReadFull(c.Conn, h[5:]); err != nil {
		return err
	}
	var err error
	c.hello, err = shrink(h)
	return err
}

// shrink takes out of a hello what matrix.Kind.Stretch put there.
func shrink(h []byte) ([]byte, error) {
	pos, st := tlshello.Parse(h)
	if st != tlshello.Complete {
		return nil, errors.New("no hello in the first record")
	}
	for at, n := pos.Extensions, 0; at < pos.Len; at += n {
		n = 4 + int(binary.BigEndian.Uint16(h[at+2:]))
		if binary.BigEndian.Uint16(h[at:]) != matrix.Filler {
			continue
		}
		for _, at := range []int{3, 7, pos.Extensions - 2} { // record, handshake, extensions
			binary.BigEndian.PutUint16(h[at:], binary.BigEndian.Uint16(h[at:])-uint16(n))
		}
		return slices.Delete(h, at, at+n), nil
	}
	return h, nil
}

// What a stretching does to a hello, its other end undoes.
func TestStretch(t *testing.T) {
	h := tlshello.AppendQUICDecoy(nil, Blocked, 1)
	for _, k := range []matrix.Kind{matrix.Small, matrix.PostQuantum, matrix.Late} {
		long := k.Stretch(slices.Clone(h))
		pos, st := tlshello.Parse(long)
		if st != tlshello.Complete || pos.Len != len(long) || len(long) <= len(h) {
			t.Errorf("%v: %v, %d bytes of %d", k, st, pos.Len, len(long))
		}
		if late := pos.Host > 1500; late != (k == matrix.Late) {
			t.Errorf("%v: the name is at %d", k, pos.Host)
		}
		if got, err := shrink(long); err != nil || !bytes.Equal(got, h) {
			t.Errorf("%v: %x, %v, want %x", k, got, err, h)
		}
	}
}
