package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"b4/lab"
)

// A talk is a flow of UDP as QUIC has them: datagrams that begin like a handshake,
// two of them at once, each of which the server sends back.
const (
	talkSize  = 1200 // bytes of a datagram
	talkTurns = 12   // more than are hidden
)

// Protocols.
const (
	tcp    = 6
	masked = 253 // of UDP that is hidden
)

// quiet is a datagram that gets no answer.
const quiet = 0x40

// echo sends back what comes, until the socket closes.
func echo(c net.PacketConn) {
	for buf := make([]byte, 2*talkSize); ; {
		n, from, err := c.ReadFrom(buf)
		switch {
		case err != nil:
			return
		case n == 1 && buf[0] == quiet:
			continue
		}
		c.WriteTo(buf[:n], from) // what fails here, the client misses
	}
}

// again is how long an answer may take until the question is sent again, and the
// number of times it is.
const (
	again = time.Second
	tries = 20
)

// talk is the client's side.
func talk(l *lab.Lab, v6 bool) error {
	var c net.Conn
	err := l.Client.Do(func() (err error) {
		c, err = net.Dial("udp", lab.Modern.Addr(v6).String())
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	datagram := append([]byte{0xc3, 0, 0, 0, 1, 8}, make([]byte, talkSize-6)...) // a long header of version 1
	for turn := range talkTurns {
		if err := turnOf(c, datagram, byte(turn)); err != nil {
			return fmt.Errorf("turn %d: %w", turn+1, err)
		}
	}
	return nil
}

// turnOf sends two datagrams and takes one answer or more, as UDP may lose some.
func turnOf(c net.Conn, datagram []byte, turn byte) error {
	datagram[len(datagram)-1] = turn
	got := make([]byte, 2*talkSize)
	for range tries {
		for range 2 {
			if _, err := c.Write(datagram); err != nil {
				return err
			}
		}
		c.SetReadDeadline(time.Now().Add(again))
		for {
			n, err := c.Read(got)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			if n == len(datagram) && got[n-1] == turn {
				return nil
			}
		}
	}
	return fmt.Errorf("no answer to %d datagrams", 2*tries)
}

// Crumbs of UDP are a flow that nobody answers: packets to be hidden, and not to
// be shown to b4d, as they do not begin like a handshake.
const crumbs = 40

// scatter sends crumbs of UDP.
func scatter(l *lab.Lab, v6 bool) error {
	return l.Client.Do(func() error {
		c, err := net.Dial("udp", lab.Modern.Addr(v6).String())
		if err != nil {
			return err
		}
		for range crumbs {
			if _, err := c.Write([]byte{quiet}); err != nil {
				return errors.Join(err, c.Close())
			}
		}
		return c.Close()
	})
}

// greetPort is one that b4 does not watch.
const greetPort = "8080"

// greet opens a connection to the server that both ends close. When it returns each
// has had the other's FIN, so that none is sent again later.
func greet(l *lab.Lab, v6 bool) error {
	at := net.JoinHostPort(lab.Modern.Addr(v6).Addr().String(), greetPort)
	var ln net.Listener
	err := l.Server.Do(func() (err error) {
		ln, err = net.Listen("tcp", at)
		return err
	})
	if err != nil {
		return err
	}
	defer ln.Close()
	var c net.Conn
	err = l.Client.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", at, patience)
		return err
	})
	if err != nil {
		return err
	}
	other, err := ln.Accept()
	if err != nil {
		return errors.Join(err, c.Close())
	}
	for _, end := range []net.Conn{c, other} {
		err = errors.Join(err, end.(*net.TCPConn).SetLinger(int(patience.Seconds())))
	}
	return errors.Join(err, c.Close(), other.Close())
}

// experiment sends the server a packet with the number that hides UDP.
func experiment(l *lab.Lab, v6 bool) error {
	network := fmt.Sprintf("ip4:%d", masked)
	if v6 {
		network = fmt.Sprintf("ip6:%d", masked)
	}
	return l.Client.Do(func() error {
		c, err := net.Dial(network, lab.Modern.Addr(v6).Addr().String())
		if err != nil {
			return err
		}
		_, err = c.Write(make([]byte, 64))
		return errors.Join(err, c.Close())
	})
}
