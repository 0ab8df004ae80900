package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"b4/lab"
)

// A site is a lab of its own for one variant: client, router and server in network
// namespaces, with what is measured at work in the router all the time. So turns are
// taken between sites, and nothing has to be started for it.
type site struct {
	variant
	lab            *lab.Lab
	accounts       accounts
	server, client *helper
	daemon         daemon // nil is plain forwarding
	bulk           bulkSizes
	rate           float64 // of connections, for the long loads; zero before there was one
	asking         float64 // allocations to answer what is asked about one
}

// newSite builds it; l is what the lab is to be like.
func newSite(v variant, slow bool) (_ *site, err error) {
	s := &site{variant: v}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.accounts, err = newAccounts(); err != nil {
		return nil, err
	}
	if s.lab, err = lab.New(lab.Options{Direct: true, Slow: slow}); err != nil {
		return nil, err
	}
	// Every connection of the run gets a port of its own at each of the server's
	// addresses.
	if err := s.lab.Client.Sysctl("net/ipv4/ip_local_port_range", "1024 65535"); err != nil {
		return nil, err
	}
	if err := s.lab.Serves(addresses()...); err != nil {
		return nil, err
	}
	if s.server, err = startHelper(s.lab.Server, serveVerb); err != nil {
		return nil, err
	}
	if s.client, err = startHelper(s.lab.Client, loadVerb); err != nil {
		return nil, err
	}
	if v.start == nil {
		return s, nil
	}
	s.daemon, err = v.start(s.lab)
	return s, err
}

// close ends it, from the inside out.
func (s *site) close() error {
	var errs []error
	if s.daemon != nil {
		errs = append(errs, s.daemon.Stop())
	}
	for _, h := range []*helper{s.client, s.server} {
		if h != nil {
			errs = append(errs, h.Stop())
		}
	}
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
	}
	return errors.Join(errs...)
}

// b4d is the site's, if it has one.
func (s *site) b4d() *lab.B4D {
	d, _ := s.daemon.(*lab.B4D)
	return d
}

// A cost is a load's result with the CPU time that it took.
type cost struct {
	result
	all time.Duration // of the client, the server, the kernel and the daemon
	own time.Duration // of the daemon
}

// load has the client do a load.
func (s *site) load(l load) (c cost, err error) {
	before, err := s.spent(s.daemon)
	if err != nil {
		return c, err
	}
	if err := s.client.call(l, &c.result); err != nil {
		return c, fmt.Errorf("%v: %w", l, err)
	}
	if c.Error != "" {
		return c, fmt.Errorf("%v: %s", l, c.Error)
	}
	after, err := s.spent(s.daemon)
	c.all, c.own = after.all-before.all, after.own-before.own
	return c, err
}

// spent is how far the clocks have come, of the whole path and of d.
func (s *site) spent(d daemon) (c cost, err error) {
	pids := []int{s.server.PID(), s.client.PID()}
	if d != nil {
		pids = append(pids, d.PID())
		if c.own, err = processCPU(d.PID()); err != nil {
			return c, err
		}
	}
	c.all, err = s.accounts.used(pids...)
	return c, err
}

// A helper is this program, or another, at work in a namespace.
type helper struct {
	cmd *exec.Cmd
	in  io.WriteCloser // its end is the helper's, if it is this program
	out *bufio.Reader
}

// startHelper has this program do what a verb says in a namespace, and waits until it
// says a line.
func startHelper(h *lab.Host, verb string) (*helper, error) {
	p := &helper{cmd: exec.Command("/proc/self/exe", verb)}
	p.cmd.Stderr = os.Stderr
	in, err1 := p.cmd.StdinPipe()
	out, err2 := p.cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := h.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", verb, err)
	}
	if _, err := p.out.ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", verb, err), p.Stop())
	}
	return p, nil
}

// PID is the process's number.
func (p *helper) PID() int { return p.cmd.Process.Pid }

// Stop ends it.
func (p *helper) Stop() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

// call gives the helper a line of JSON and takes one.
func (p *helper) call(question, answer any) error {
	if err := json.NewEncoder(p.in).Encode(question); err != nil {
		return err
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, answer)
}
