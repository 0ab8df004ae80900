package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"b4/lab"
)

// A peer is another program that does what b4 does, and is measured where it is found.
type peer struct {
	name, env string // env names the program if it is not on PATH
	same      []string
	shipped   []string
	rules     lab.PeerRules
}

// peers and how they are started: with b4's rules and b4's strategy, so that what
// differs is the program; and with the rules and the strategy that its own manual
// gives. Both split hellos of any name.
var peers = []peer{
	{
		name: "nfqws", env: "NFQWS",
		same: []string{fmt.Sprint("--qnum=", lab.YardstickQueue), fmt.Sprint("--dpi-desync-fwmark=", lab.YardstickMark()),
			"--filter-tcp=443", "--dpi-desync=multidisorder", "--dpi-desync-split-pos=midsld"},
		shipped: []string{"--qnum=200", "--filter-tcp=443", "--dpi-desync=fake,multidisorder", "--dpi-desync-split-pos=1,midsld",
			"--dpi-desync-fooling=badseq,md5sig"},
		rules: lab.PeerRules{Queue: 200, Mark: 0x40000000, Priority: 101, Packets: 9, Replies: 3, Untracked: true},
	}, {
		name: "youtubeUnblock", env: "YOUTUBEUNBLOCK",
		same: []string{fmt.Sprint("--queue-num=", lab.YardstickQueue), fmt.Sprint("--packet-mark=", lab.YardstickMark()),
			"--sni-domains=all", "--fake-sni=0", "--frag=tcp", "--frag-sni-reverse=1", "--frag-sni-faked=0", "--frag-middle-sni=1", "--silent"},
		shipped: []string{"--sni-domains=all", "--silent"},
		rules:   lab.PeerRules{Queue: 537, Mark: 0x8000, Priority: -151, Packets: 19},
	},
}

// find is where the program is; "" is nowhere.
func (p *peer) find() string {
	if path := os.Getenv(p.env); path != "" {
		return path
	}
	path, err := exec.LookPath(p.name)
	if err != nil {
		return ""
	}
	return path
}

// variants are the peer's, if it is there.
func (p *peer) variants() []variant {
	program := p.find()
	if program == "" {
		return nil
	}
	return []variant{
		{name: p.name, what: p.name + ", with b4's rules, splitting a hello in two", queue: lab.YardstickQueue,
			start: func(l *lab.Lab) (daemon, error) {
				rules, err := startHelper(l.Router, "rules")
				if err != nil {
					return nil, err
				}
				return startPeer(l, rules, lab.YardstickQueue, program, p.same)
			}},
		{name: p.name + "-shipped", what: p.name + ", with the rules and the strategy of its manual", queue: p.rules.Queue,
			start: func(l *lab.Lab) (daemon, error) {
				if err := l.SetPeerRules(p.rules); err != nil {
					return nil, err
				}
				return startPeer(l, nil, p.rules.Queue, program, p.shipped)
			}},
	}
}

// A running is a peer at work.
type running struct {
	cmd   *exec.Cmd
	rules *helper // that holds the rules; nil is none
}

// peerLimit is how long a peer may take to serve its queue.
const peerLimit = 5 * time.Second

func startPeer(l *lab.Lab, rules *helper, queue uint16, program string, args []string) (daemon, error) {
	r := &running{exec.Command(program, args...), rules}
	if err := l.Router.Start(r.cmd); err != nil {
		return nil, errors.Join(err, r.letGo())
	}
	for deadline := time.Now().Add(peerLimit); ; {
		_, served, err := l.Router.Queue(queue)
		if err == nil && served {
			return r, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%s does not serve queue %d", program, queue), err, r.Stop())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// PID implements daemon.
func (r *running) PID() int { return r.cmd.Process.Pid }

// Stop implements daemon.
func (r *running) Stop() error {
	err := r.cmd.Process.Signal(syscall.SIGKILL) // nothing is asked of how it ends
	r.cmd.Wait()
	return errors.Join(err, r.letGo())
}

func (r *running) letGo() error {
	if r.rules == nil {
		return nil
	}
	return r.rules.Stop()
}
