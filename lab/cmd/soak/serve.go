package main

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"time"

	"b4/lab"
)

// The address of the servers that the lab has not: DNS on port 53 of UDP and of
// TCP, and on port 443 one that answers a ClientHello with its checksum, which
// costs next to nothing.
const (
	extra4 = "203.0.113.5"
	extra6 = "2001:db8:3::5"
)

func extra(v6 bool, port string) string {
	if v6 {
		return net.JoinHostPort(extra6, port)
	}
	return net.JoinHostPort(extra4, port)
}

// servers are those of a house.
type servers struct{ open []io.Closer }

func (s *servers) serve(l *lab.Lab) error {
	if err := l.Serves(extra4+"/24", extra6+"/64"); err != nil {
		return err
	}
	return l.Server.Do(func() error {
		for _, v6 := range []bool{false, true} {
			udp, err := net.ListenPacket("udp", extra(v6, "53"))
			if err != nil {
				return err
			}
			s.open = append(s.open, udp)
			go answerDatagrams(udp)
			for port, answer := range map[string]func(net.Conn) error{"53": answerDNS, "443": answerHello} {
				ln, err := net.Listen("tcp", extra(v6, port))
				if err != nil {
					return err
				}
				s.open = append(s.open, ln)
				go accept(ln, answer)
			}
		}
		return nil
	})
}

func (s *servers) close() {
	for _, c := range s.open {
		c.Close()
	}
}

// patience bounds a try. It is long, as whoever has waited through a standstill of
// the whole machine doubles the time to the next attempt: a house in which that hit
// a burst would seem worse than the others.
const patience = time.Minute

// accept serves until ln is closed. What fails here fails at the client, who
// tells.
func accept(ln net.Listener, answer func(net.Conn) error) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			answer(c)
		}()
	}
}

// answerSize is what a hello is answered with, in bytes; its checksum is first.
const answerSize = 1200

func answerHello(c net.Conn) error {
	const header = 5
	b := make([]byte, header, 1024)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	b = append(b, make([]byte, binary.BigEndian.Uint16(b[3:]))...)
	if _, err := io.ReadFull(c, b[header:]); err != nil {
		return err
	}
	answer := make([]byte, answerSize)
	binary.BigEndian.PutUint32(answer, crc32.ChecksumIEEE(b))
	_, err := c.Write(answer)
	return err
}

func answerDatagrams(c net.PacketConn) {
	b := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if a := resolve(b[:n]); a != nil {
			c.WriteTo(a, from) // an answer lost is asked for again
		}
	}
}

// answerDNS is DNS over TCP, RFC 1035 section 4.2.2.
func answerDNS(c net.Conn) error {
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return err
		}
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, q); err != nil {
			return err
		}
		a := resolve(q)
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return err
		}
	}
}

// resolve answers a question (RFC 1035 section 4.1) for any name: an A record
// whose address is made of the name, or no record of any other type. It returns
// nil for what is no question.
func resolve(q []byte) []byte {
	const header = 12
	end := header
	for end < len(q) && q[end] != 0 {
		end += 1 + int(q[end])
	}
	if end += 5; end > len(q) { // the root, type and class
		return nil
	}
	a := append([]byte(nil), q[:end]...)
	copy(a[2:header], []byte{0x84, 0x00, 0, 1, 0, 0, 0, 0, 0, 0})
	if q[end-3] != 1 { // A
		return a
	}
	a[7] = 1
	a = append(a, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
	return binary.BigEndian.AppendUint32(a, addressOf(q[header:end-4]))
}

// addressOf is the address that a name has here.
func addressOf(wire []byte) uint32 { return crc32.ChecksumIEEE(wire) }
