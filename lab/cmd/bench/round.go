package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"b4/lab"
)

// config is b4d's: as it ships, but on.
const config = `
config b4 'main'
	option enabled '1'
	option engine '%s'
`

// bench is the lab with its server, and where time is counted.
type bench struct {
	lab      *lab.Lab
	program  string
	config   string // of b4d
	accounts accounts
	server   *exec.Cmd
	stdin    io.Closer // its end is the server's
}

// start starts the server and waits until it listens.
func (b *bench) start() (err error) {
	if b.accounts, err = newAccounts(); err != nil {
		return err
	}
	b.server = exec.Command("/proc/self/exe", serveVerb)
	b.server.Stderr = os.Stderr
	if b.stdin, err = b.server.StdinPipe(); err != nil {
		return err
	}
	out, err := b.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.lab.Server.Start(b.server); err != nil {
		return err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return errors.Join(fmt.Errorf("start the server: %w", err), b.stop())
	}
	return nil
}

func (b *bench) stop() error { return errors.Join(b.stdin.Close(), b.server.Wait()) }

// A sample is what one round gave. The second half is of b4d's own.
type sample struct {
	bulk      float64 // bytes per second
	bulkCPU   float64 // seconds per 10⁹ bytes
	rate, tls float64 // connections per second
	connCPU   float64 // seconds per connection
	p50, p99  float64 // seconds

	steered    float64 // packets per TLS connection
	ownConn    float64 // seconds per connection
	ownPacket  float64 // seconds per steered packet
	packets    float64 // steered, in the whole round
	user       float64 // seconds outside the kernel for them
	peakMemory float64 // bytes
}

// round does all loads once.
func (b *bench) round(with bool) (s sample, err error) {
	if !with {
		return s, b.loads(&s, nil)
	}
	d, err := b.lab.StartB4D(b.program, b.config)
	if err != nil {
		return s, err
	}
	idle, err := userCPU(d.PID())
	if err == nil {
		err = b.loads(&s, d)
	}
	if err == nil {
		err = s.finish(d, idle)
	}
	return s, errors.Join(err, d.Stop())
}

// loads does the loads of a round, with b4d if there is one.
func (b *bench) loads(s *sample, d *lab.B4D) error {
	if _, err := b.load(warming, d); err != nil {
		return err
	}
	down, err := b.load(bulk, d)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	s.bulk = bulkSize / down.Took.Seconds()
	s.bulkCPU = down.all.Seconds() / (bulkSize / 1e9)

	bare, err := b.load(parallel, d)
	if err != nil {
		return fmt.Errorf("connections: %w", err)
	}
	n := float64(parallel.count)
	s.rate, s.connCPU = n/bare.Took.Seconds(), bare.all.Seconds()/n
	s.ownConn, s.ownPacket = bare.own.Seconds()/n, bare.own.Seconds()/float64(max(bare.packets, 1))

	secure, err := b.load(inTLS, d)
	if err != nil {
		return fmt.Errorf("TLS connections: %w", err)
	}
	s.tls = float64(inTLS.count) / secure.Took.Seconds()
	s.steered = float64(secure.packets) / float64(inTLS.count)

	single, err := b.load(sequence, d)
	if err != nil {
		return fmt.Errorf("connections one by one: %w", err)
	}
	s.p50, s.p99 = single.P50.Seconds(), single.P99.Seconds()
	return nil
}

// finish takes the accounts of all loads together; started is the user time that
// b4d's start took.
func (s *sample) finish(d *lab.B4D, started time.Duration) error {
	st, err := d.Status()
	if err != nil {
		return err
	}
	if st.Engine.Counters.Lost != 0 {
		return fmt.Errorf("b4d lost %d packets", st.Engine.Counters.Lost)
	}
	s.packets = float64(st.Engine.Counters.Read)
	user, err := userCPU(d.PID())
	if err != nil {
		return err
	}
	s.user = (user - started).Seconds()
	peak, err := number(fmt.Sprintf("/proc/%d/status", d.PID()), "VmHWM")
	s.peakMemory = float64(peak << 10)
	return err
}

// cost is a load's result with what the others did meanwhile.
type cost struct {
	result
	all     time.Duration // CPU of the client, the server, the kernel and b4d
	own     time.Duration // CPU of b4d
	packets uint64        // steered
}

// load runs the client.
func (b *bench) load(l load, d *lab.B4D) (cost, error) {
	before, err := b.now(d)
	if err != nil {
		return cost{}, err
	}
	cmd := exec.Command("/proc/self/exe", loadVerb, l.name, strconv.Itoa(l.count), strconv.Itoa(l.clients))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return cost{}, err
	}
	if err := b.lab.Client.Start(cmd); err != nil {
		return cost{}, err
	}
	var c cost
	err = json.NewDecoder(out).Decode(&c.result)
	if err := errors.Join(cmd.Wait(), err); err != nil {
		return cost{}, err
	}
	after, err := b.now(d)
	if err != nil {
		return cost{}, err
	}
	c.own, c.packets = after.own-before.own, after.packets-before.packets
	c.all = after.others - before.others + c.own + c.CPU
	return c, nil
}

// A moment is how far the counters have come.
type moment struct {
	others, own time.Duration
	packets     uint64
}

func (b *bench) now(d *lab.B4D) (m moment, err error) {
	if m.others, err = b.accounts.used(b.server.Process.Pid); err != nil || d == nil {
		return m, err
	}
	st, err := d.Status()
	if err != nil {
		return m, err
	}
	m.packets = st.Engine.Counters.Read
	m.own, err = processCPU(d.PID())
	return m, err
}

// idleTime is how long b4d is watched doing nothing, after it has calmed down.
const (
	calmTime = time.Second
	idleTime = 5 * time.Second
)

// idle returns how often a second the threads of a b4d without traffic go to
// sleep.
func (b *bench) idle() (float64, error) {
	d, err := b.lab.StartB4D(b.program, b.config)
	if err != nil {
		return 0, err
	}
	time.Sleep(calmTime)
	before, err1 := switches(d.PID())
	time.Sleep(idleTime)
	after, err2 := switches(d.PID())
	return float64(after-before) / idleTime.Seconds(), errors.Join(err1, err2, d.Stop())
}
