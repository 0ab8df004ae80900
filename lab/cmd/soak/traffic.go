package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"b4/lab"
	"b4/tlshello"
)

// A kind of traffic. draw draws all that is random of one exchange.
type kind struct {
	name  string
	every time.Duration // on average
	draw  func(l *lab.Lab, rnd *rand.Rand) func() error
}

// blockedKind is that of the traffic which only b4 lets through.
const blockedKind = "blocked"

// traffic is all but the bursts. What a stream takes is longer than most of the
// time between two accidents.
var traffic = []kind{
	{"tls", 300 * time.Millisecond, page(lab.Request{Host: lab.Allowed, Hello: lab.Small})},
	{"tls pq", 300 * time.Millisecond, page(lab.Request{Host: lab.Allowed, Hello: lab.PostQuantum})},
	{"quic", 700 * time.Millisecond, page(lab.Request{Host: lab.Allowed, Proto: lab.QUIC, Hello: lab.PostQuantum})},
	{"http", 300 * time.Millisecond, page(lab.Request{Host: lab.Allowed, Proto: lab.HTTP})},
	{"dns", 200 * time.Millisecond, lookUp("udp")},
	{"dns tcp", time.Second, lookUp("tcp")},
	{"download", 5 * time.Second, download},
	{"upload", 5 * time.Second, upload},
	{"stream", 6 * time.Second, stream},
	{blockedKind, time.Second, blocked},
}

func page(r lab.Request) func(*lab.Lab, *rand.Rand) func() error {
	return func(l *lab.Lab, rnd *rand.Rand) func() error {
		r := r
		r.V6, r.Timeout = rnd.IntN(2) == 1, patience
		if r.Proto == lab.TLS {
			r.Site = []lab.Site{lab.Modern, lab.Modern, lab.Retry, lab.Old}[rnd.IntN(4)]
		}
		return func() error { return l.Open(r) }
	}
}

func blocked(l *lab.Lab, rnd *rand.Rand) func() error {
	r := lab.Request{Host: lab.Blocked, Hello: lab.Hello(rnd.IntN(2)), V6: rnd.IntN(2) == 1, Timeout: patience}
	return func() error { return l.Open(r) }
}

// bulk is what is transferred at once, in bytes.
const bulk = 2 << 20

func download(l *lab.Lab, rnd *rand.Rand) func() error {
	r := lab.Request{Host: lab.Allowed, Proto: lab.Proto(rnd.IntN(3)), V6: rnd.IntN(2) == 1, Timeout: 2 * patience}
	return func() error { return l.Download(r, bulk) }
}

func upload(l *lab.Lab, rnd *rand.Rand) func() error {
	r := lab.Request{Host: lab.Allowed, Proto: lab.Proto(rnd.IntN(3)), V6: rnd.IntN(2) == 1, Timeout: 2 * patience, Upload: bulk}
	return func() error {
		res, err := l.Get(r)
		if err == nil && res.Body != lab.SumOf(bulk) {
			err = fmt.Errorf("the server got something else: %q", res.Body)
		}
		return err
	}
}

// stream is a download at the speed of a film.
func stream(l *lab.Lab, rnd *rand.Rand) func() error {
	const rate = 100 << 10 // bytes a second
	r := lab.Request{Host: lab.Allowed, V6: rnd.IntN(2) == 1, Timeout: 2 * patience}
	length := time.Duration(10+rnd.IntN(15)) * time.Second
	return func() error {
		r, start := r, time.Now()
		r.Pace = func(n int64) {
			time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / rate)))
		}
		return l.Download(r, int64(length/time.Second)*rate)
	}
}

// lookUp asks for a name that nobody has asked for.
func lookUp(network string) func(*lab.Lab, *rand.Rand) func() error {
	return func(_ *lab.Lab, rnd *rand.Rand) func() error {
		question, server := question(rnd), extra(rnd.IntN(2) == 1, "53")
		return func() error {
			c, err := dial(network, server)
			if err != nil {
				return err
			}
			defer c.Close()
			answer, err := lookUpBy(c, network, question)
			if err == nil && !bytes.Equal(answer, resolve(question)) {
				err = fmt.Errorf("an answer of %d bytes: %x", len(answer), answer)
			}
			return err
		}
	}
}

// dial connects for no longer than a try lasts.
func dial(network, addr string) (net.Conn, error) {
	deadline := time.Now().Add(patience)
	d := net.Dialer{Deadline: deadline}
	c, err := d.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(deadline)
}

// question asks for the A record of a name, with an id.
func question(rnd *rand.Rand) []byte {
	id, label := uint16(rnd.Uint32()), fmt.Sprintf("%016x", rnd.Uint64())
	q := binary.BigEndian.AppendUint16(nil, id)
	q = append(q, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(label)))
	return append(q, label+"\x07example\x00\x00\x01\x00\x01"...)
}

// resolvers ask again after a second, for as long as a try lasts.
const askAgain = time.Second

func lookUpBy(c net.Conn, network string, q []byte) ([]byte, error) {
	b := make([]byte, 512)
	if network == "tcp" {
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, b[:2]); err != nil {
			return nil, err
		}
		b = b[:binary.BigEndian.Uint16(b)]
		_, err := io.ReadFull(c, b)
		return b, err
	}
	var err error
	for range patience / askAgain {
		var n int
		if _, err = c.Write(q); err == nil {
			c.SetReadDeadline(time.Now().Add(askAgain))
			n, err = c.Read(b)
		}
		if err == nil {
			return b[:n], nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			time.Sleep(askAgain)
		}
	}
	return nil, err
}

// hello is a client's of an unblocked site.
var hello = tlshello.AppendDecoy(nil, lab.Allowed, 1)

// askBare is a connection without TLS's arithmetic: a hello, and an answer that
// depends on each of its bytes.
func askBare(v6 bool) error {
	c, err := dial("tcp", extra(v6, "443"))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(hello); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	switch {
	case err != nil:
		return fmt.Errorf("read the answer after %d bytes: %w", len(answer), err)
	case len(answer) != answerSize:
		return fmt.Errorf("an answer of %d bytes", len(answer))
	case binary.BigEndian.Uint32(answer) != crc32.ChecksumIEEE(hello):
		return errors.New("the server got another hello")
	}
	return nil
}
