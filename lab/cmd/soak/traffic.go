package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
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
	r := lab.Request{Host: lab.Allowed, V6: rnd.IntN(2) == 1, Timeout: 4 * patience}
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
		label, server := fmt.Sprintf("n%x", rnd.Uint64()), extra(rnd.IntN(2) == 1, "53")
		return func() error {
			r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, server)
			}}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			addrs, err := r.LookupNetIP(ctx, "ip4", label+".example.")
			if err != nil {
				return err
			}
			wire := append([]byte{byte(len(label))}, label+"\x07example\x00"...)
			want := binary.BigEndian.AppendUint32(nil, addressOf(wire))
			if len(addrs) != 1 || addrs[0].Unmap().As4() != [4]byte(want) {
				return fmt.Errorf("%s has the addresses %v, want %v", label, addrs, want)
			}
			return nil
		}
	}
}

// hello is a client's of an unblocked site.
var hello = tlshello.AppendDecoy(nil, lab.Allowed, 1)

// askBare is a connection without TLS's arithmetic: a hello, and an answer that
// depends on each of its bytes.
func askBare(v6 bool) error {
	deadline := time.Now().Add(patience)
	d := net.Dialer{Deadline: deadline}
	c, err := d.Dial("tcp", extra(v6, "443"))
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(deadline)
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
