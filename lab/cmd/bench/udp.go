package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"b4/lab"
	"b4/quic"
)

// Datagrams are sent back by the server, and so many are under way: few enough for
// the buffers of both ends, so that none is lost unless something loses it.
const (
	datagramSize = 1200
	window       = 32
	flowLength   = 20 // datagrams of a flow whose headers are all long; b4 is shown 40 packets of it
)

// echo sends back what comes, until the socket closes.
func echo(c *net.UDPConn) {
	for buf := make([]byte, 2*datagramSize); ; {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		c.WriteToUDPAddrPort(buf[:n], from) // what fails here, the client misses
	}
}

// A talk is a flow from the client's side.
type talk struct {
	net.Conn
	out, in []byte
}

// nextPort is the client's for the next flow. Each has one of its own: conntrack would
// take a port that comes again for the flow of before.
var nextPort = firstPort

const firstPort, lastPort = 2000, 65535

// newTalk opens a flow by an Initial that can be read, and waits for its echo, which
// may come in another form.
func newTalk() (*talk, error) {
	d := net.Dialer{LocalAddr: &net.UDPAddr{Port: nextPort}}
	if nextPort++; nextPort > lastPort {
		nextPort = firstPort
	}
	c, err := d.Dial("udp", quicAddr)
	if err != nil {
		return nil, err
	}
	t := &talk{c, make([]byte, datagramSize), make([]byte, 2*datagramSize)}
	var s quic.Sealer
	initial, err := s.AppendDecoy(nil, quic.V1, lab.Allowed, 1)
	if err == nil {
		t.SetDeadline(time.Now().Add(patience))
		_, err = t.Write(initial)
	}
	if err == nil {
		_, err = t.Read(t.in)
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("open a flow: %w", err)
	}
	return t, nil
}

// send sends n datagrams with this header, each with its number at its end, and takes
// them back in order.
func (t *talk) send(header []byte, n int) error {
	copy(t.out, header)
	number, back := t.out[len(t.out)-4:], t.in[datagramSize-4:]
	for sent, got := 0, 0; got < n; got++ {
		for ; sent < min(n, got+window); sent++ {
			binary.BigEndian.PutUint32(number, uint32(sent))
			if _, err := t.Write(t.out); err != nil {
				return err
			}
		}
		m, err := t.Read(t.in)
		if err != nil || m != datagramSize || binary.BigEndian.Uint32(back) != uint32(got) || t.in[0] != header[0] {
			return fmt.Errorf("datagram %d: %d bytes came back, of number %d: %w", got, m, binary.BigEndian.Uint32(back), err)
		}
	}
	return nil
}

// talkShort sends datagrams as QUIC does behind its handshake, all of one flow.
func talkShort(n int) (result, error) {
	t, err := newTalk()
	if err != nil {
		return result{}, err
	}
	defer t.Close()
	start := time.Now()
	err = t.send([]byte{0x43}, n)
	return result{Took: time.Since(start)}, err
}

// talkLong sends datagrams with packets of a handshake, of many flows.
func talkLong(n int) (result, error) {
	start := time.Now()
	for ; n > 0; n -= flowLength {
		if err := handshake(); err != nil {
			return result{}, err
		}
	}
	return result{Took: time.Since(start)}, nil
}

// handshake is one such flow.
func handshake() error {
	t, err := newTalk()
	if err != nil {
		return err
	}
	defer t.Close()
	// Version 1, a connection id of 8 bytes and none, and the length of the rest.
	header := []byte{0xe3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0}
	binary.BigEndian.PutUint16(header[15:], 0x4000|uint16(datagramSize-len(header)))
	return t.send(header, flowLength-1)
}
