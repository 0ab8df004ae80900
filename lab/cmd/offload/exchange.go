package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"b4/lab"
	"b4/tlshello"
)

// An exchange has the shape of TLS without its arithmetic: a ClientHello, a
// flight that answers it, and a request for a number of bytes. Neither end ever
// sends a FIN: the client resets when it has what it wants, and the server is
// done when it is reset. So each FIN there is in a lab is false.
const (
	flightSize  = 1200 // bytes
	crumbSize   = 50   // of a flight: packets that are hidden, as the client has not finished
	requestSize = 140  // begins with the number of bytes wanted
	pieceSize   = 16 << 10
	wholeSize   = 1 << 20 // of what a server with much to send writes at once: more than the ends can hand over in turns
)

// endless asks for bytes in pieces, one every pace, until the client resets.
const (
	endless = 1 << 62
	pace    = 10 * time.Millisecond
)

// patience bounds what one end waits for the other.
const patience = 30 * time.Second

// serve opens the servers of a Direct lab for both families. They write a flight in
// crumbs of so many bytes.
func serve(l *lab.Lab, crumb int) (io.Closer, error) {
	var all closers
	for _, v6 := range []bool{false, true} {
		err := l.Server.Do(func() error {
			ln, err := net.Listen("tcp", lab.Modern.Addr(v6).String())
			if err == nil {
				all = append(all, ln)
				go accept(ln, crumb)
			}
			udp, udpErr := net.ListenPacket("udp", lab.Modern.Addr(v6).String())
			if udpErr == nil {
				all = append(all, udp)
				go echo(udp)
			}
			return errors.Join(err, udpErr)
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serve: %w", err), all.Close())
		}
	}
	return all, nil
}

type closers []io.Closer

func (all closers) Close() error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// accept serves connections until the listener closes. What fails here fails at
// the client too, which tells.
func accept(ln net.Listener, crumb int) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.(*net.TCPConn).SetLinger(0)
			answer(c, crumb)
		}()
	}
}

// answer is the server's side.
func answer(c net.Conn, crumb int) error {
	var head [5]byte // of a TLS record
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	hello := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(c, hello); err != nil {
		return err
	}
	for range flightSize / crumb {
		if _, err := c.Write(make([]byte, crumb)); err != nil {
			return err
		}
	}
	var request [requestSize]byte
	if _, err := io.ReadFull(c, request[:]); err != nil {
		return err
	}
	want := int64(binary.BigEndian.Uint64(request[:]))
	piece := make([]byte, pieceSize)
	if want < endless {
		piece = make([]byte, wholeSize)
	}
	for want > 0 {
		c.SetDeadline(time.Now().Add(patience))
		n, err := c.Write(piece[:min(want, int64(len(piece)))])
		if err != nil {
			return err
		}
		if want < endless {
			want -= int64(n)
		} else {
			time.Sleep(pace)
		}
	}
	_, err := c.Read(head[:]) // the reset
	return err
}

// ask is the client's side: it fetches n bytes, or until stop is closed. It returns
// what the second half of them took: the beginning, which b4 delays, is not in it.
func ask(l *lab.Lab, v6 bool, host string, n int64, stop <-chan struct{}) (half time.Duration, err error) {
	var c net.Conn
	err = l.Client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", lab.Modern.Addr(v6).String(), patience)
		return err
	})
	if err != nil {
		return 0, err
	}
	c.(*net.TCPConn).SetLinger(0)
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(tlshello.AppendDecoy(nil, host, 1)); err != nil {
		return 0, err
	}
	var flight [flightSize]byte
	if _, err := io.ReadFull(c, flight[:]); err != nil {
		return 0, fmt.Errorf("read the answer to the hello: %w", err)
	}
	var request [requestSize]byte
	binary.BigEndian.PutUint64(request[:], uint64(n))
	if _, err := c.Write(request[:]); err != nil {
		return 0, err
	}
	return take(c, n, stop)
}

// take reads n bytes, or until stop is closed.
func take(c net.Conn, n int64, stop <-chan struct{}) (half time.Duration, err error) {
	var middle time.Time
	buf := make([]byte, 2*pieceSize)
	for left := n; left > 0; {
		select {
		case <-stop:
			return 0, nil
		default:
		}
		c.SetDeadline(time.Now().Add(patience))
		m, err := c.Read(buf[:min(left, int64(len(buf)))])
		left -= int64(m)
		if err != nil {
			return 0, fmt.Errorf("read after %d bytes: %w", n-left, err)
		}
		if middle.IsZero() && left <= n/2 {
			middle = time.Now()
		}
	}
	return time.Since(middle), nil
}
