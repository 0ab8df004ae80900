package fw

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const bulk = 2 << 20 // bytes that a connection carries, each way

// serve answers every connection to port 443 of the server: 3000 bytes to the
// hello, 1 to the second message, and what it gets after that.
func (h *house) serve() {
	h.t.Helper()
	for _, addr := range []string{"192.0.2.2:443", "[fd00:b::2]:443"} {
		h.server.Do(func() {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				h.t.Error(err)
				return
			}
			h.t.Cleanup(func() { l.Close() })
			go func() {
				for c, err := l.Accept(); err == nil; c, err = l.Accept() {
					go answer(c)
				}
			}()
		})
	}
}

func answer(c net.Conn) {
	defer c.Close()
	for _, size := range []struct{ in, out int }{{600, 3000}, {80, 1}} {
		if _, err := io.ReadFull(c, make([]byte, size.in)); err != nil {
			return
		}
		c.Write(make([]byte, size.out))
	}
	io.Copy(c, c)
}

func dialFrom(do func(func()), v6 bool) (c net.Conn, err error) {
	addr := "192.0.2.2:443"
	if v6 {
		addr = "[fd00:b::2]:443"
	}
	do(func() { c, err = net.DialTimeout("tcp", addr, 3*soon) })
	if err == nil {
		limit := 3 * soon
		if os.Getenv("B4_SLOW") != "" {
			limit *= 4 // an emulated machine takes 12 s for the bulk of four at once, if nothing else runs
		}
		c.SetDeadline(time.Now().Add(limit))
	}
	return c, err
}

// talk opens a connection and uses it.
func talk(do func(func()), v6 bool) error { return talkThen(do, v6, func() {}) }

// talkSignalled is talk for a house that steers. The bulk waits until the kernel
// has the signal: it could be faster, by as much as TCP sends at first.
func (h *house) talkSignalled(do func(func()), v6 bool) error {
	before := h.signals.Load()
	return talkThen(do, v6, func() {
		for end := time.Now().Add(5 * time.Second); h.signals.Load() == before && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	})
}

func talkThen(do func(func()), v6 bool, greeted func()) error {
	c, err := dialFrom(do, v6)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := greet(c); err != nil {
		return err
	}
	greeted()
	return exchange(c, bulk)
}

func converse(c net.Conn, n int) error {
	if err := greet(c); err != nil {
		return err
	}
	return exchange(c, n)
}

// greet sends the hello and the message after it.
func greet(c net.Conn) error {
	for _, size := range []struct{ out, in int }{{600, 3000}, {80, 1}} {
		c.Write(make([]byte, size.out))
		if _, err := io.ReadFull(c, make([]byte, size.in)); err != nil {
			return err
		}
	}
	return nil
}

// exchange sends n bytes and wants them back.
func exchange(c net.Conn, n int) error {
	sent := bytes.Repeat([]byte("0123456789abcdef"), n/16)
	go c.Write(sent)
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if sha256.Sum256(got) != sha256.Sum256(sent) {
		return fmt.Errorf("%d bytes came back changed", n)
	}
	return nil
}

// end closes c and waits until the server has closed it, too.
func end(c net.Conn) error {
	err := c.(*net.TCPConn).CloseWrite()
	_, until := io.Copy(io.Discard, c)
	return errors.Join(err, until, c.Close())
}

func here(f func()) { f() }
