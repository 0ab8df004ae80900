package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// loadVerb makes the program the client: it says a line, and then takes loads from
// its standard input and says the result of each, in JSON.
const loadVerb = "load"

// A load is something that the client is to do.
type load struct {
	Kind    string // one of the constants below
	Count   int    // of connections, or datagrams
	Clients int    // at a time
	Down    int64  // bytes of each exchange's answer
	Up      int64  // bytes behind each exchange's request
}

// The kinds of load.
const (
	bare      = "exchanges"      // without cryptography
	inTLS     = "TLS"            // exchanges in TLS 1.3
	quicShort = "short headers"  // datagrams of one flow, behind its Initial
	quicLong  = "long headers"   // datagrams of many flows' handshakes
	bulkKind  = "bulk exchanges" // bare, at an address of their own
)

func (l load) String() string {
	return fmt.Sprintf("%d %s, %d at a time, %d bytes down and %d up", l.Count, l.Kind, l.Clients, l.Down, l.Up)
}

// A result is what a load took.
type result struct {
	Took     time.Duration // for all of it
	P50, P99 time.Duration // of connecting, hello and answer
	Error    string        // why it failed
}

// serveLoads is the client.
func serveLoads() error {
	h, err := hello()
	if err != nil {
		return fmt.Errorf("make a hello: %w", err)
	}
	fmt.Println("ready")
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var l load
		if err := in.Decode(&l); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		r, err := l.do(h)
		if err != nil {
			r.Error = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

// do does the load; h is a hello.
func (l load) do(h []byte) (result, error) {
	switch l.Kind {
	case bare:
		return repeat(func() (time.Duration, error) { return ask(bareAddr, h, l.Down, l.Up) }, l.Count, l.Clients)
	case bulkKind:
		return repeat(func() (time.Duration, error) { return ask(bulkAddr, h, l.Down, l.Up) }, l.Count, l.Clients)
	case inTLS:
		return repeat(askTLS, l.Count, l.Clients)
	case quicShort:
		return talkShort(l.Count)
	case quicLong:
		return talkLong(l.Count)
	}
	return result{}, fmt.Errorf("there is no load %q", l.Kind)
}

// askTLS is an exchange with the handshake of TLS 1.3.
func askTLS() (time.Duration, error) {
	start := time.Now()
	conn, err := net.DialTimeout("tcp", tlsAddr, patience)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(start.Add(patience))
	c := tls.Client(conn, clientConfig())
	if err := c.Handshake(); err != nil {
		return 0, fmt.Errorf("shake hands: %w", err)
	}
	return time.Since(start), readBody(c, answerSize)
}

// repeat does count exchanges with so many at a time. The first that fails ends
// it.
func repeat(once func() (time.Duration, error), count, clients int) (result, error) {
	var (
		taken  atomic.Int64
		failed atomic.Pointer[error]
		live   sync.WaitGroup
		times  = make([]time.Duration, count)
	)
	start := time.Now()
	for range clients {
		live.Add(1)
		go func() {
			defer live.Done()
			for failed.Load() == nil {
				i := int(taken.Add(1)) - 1
				if i >= count {
					return
				}
				d, err := once()
				if err != nil {
					err = fmt.Errorf("connection %d: %w", i+1, err)
					failed.Store(&err)
					return
				}
				times[i] = d
			}
		}()
	}
	live.Wait()
	if err := failed.Load(); err != nil {
		return result{}, *err
	}
	r := result{Took: time.Since(start)}
	slices.Sort(times)
	r.P50, r.P99 = times[count/2], times[count*99/100]
	return r, nil
}
