package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// loadVerb makes the program the client: it does one load and prints the
// result as JSON.
const loadVerb = "load"

// A load is count exchanges by so many clients at a time.
type load struct {
	name           string
	count, clients int
}

// The loads of a round. All are bounded by count; together they take some three
// seconds.
var (
	warming  = load{"bare", 200, 4}
	bulk     = load{"bulk", 1, 1}
	parallel = load{"bare", 8000, 16}
	inTLS    = load{"tls", 2000, 16}
	sequence = load{"bare", 2000, 1}
)

// bulkSize is the length of the bulk download, in bytes.
const bulkSize = 2 << 30

// A result is what a load took.
type result struct {
	Took     time.Duration // for all of it
	CPU      time.Duration // of the client's process meanwhile
	P50, P99 time.Duration // of connecting, hello and answer
}

func doLoad(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("load: %d arguments", len(args))
	}
	count, err1 := strconv.Atoi(args[1])
	clients, err2 := strconv.Atoi(args[2])
	if err1 != nil || err2 != nil || count < 1 {
		return fmt.Errorf("load: not numbers: %q", args)
	}
	once, err := exchanger(args[0])
	if err != nil {
		return err
	}
	r, err := repeat(once, count, clients)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// exchanger returns what does one exchange of the named load.
func exchanger(name string) (func() (time.Duration, error), error) {
	h, err := hello()
	if err != nil {
		return nil, fmt.Errorf("make a hello: %w", err)
	}
	switch name {
	case "bare":
		return func() (time.Duration, error) { return ask(bareAddr, h, answerSize) }, nil
	case "bulk":
		return func() (time.Duration, error) { return ask(bareAddr, h, bulkSize) }, nil
	case "tls":
		return askTLS, nil
	}
	return nil, fmt.Errorf("load: there is no %q", name)
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
	start, used := time.Now(), ownCPU()
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
	r := result{Took: time.Since(start), CPU: ownCPU() - used}
	slices.Sort(times)
	r.P50, r.P99 = times[count/2], times[count*99/100]
	return r, nil
}

// ownCPU is the time this process has used.
func ownCPU() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) // cannot fail
	return time.Duration(t.Nano())
}
