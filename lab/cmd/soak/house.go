package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"b4/censor"
	"b4/lab"
)

// A house is a lab with its client's program, and a b4d in its router or none.
type house struct {
	name    string
	lab     *lab.Lab
	servers servers
	b4d     *lab.B4D
	turn    int // of its configurations
	client  *exec.Cmd
	out     *json.Decoder
	report  report

	hungUp  []span // when connections may end
	pulled  []span // when a connection may not come about
	shut    []span // when what is blocked may stay so
	samples []sample
	counts  map[string]int // open files, by engine
}

// A span of time.
type span struct{ from, to time.Time }

// touches reports whether a try lived in one of the spans.
func touches(list []span, t try) bool {
	for _, s := range list {
		if t.Begun.Before(s.to) && t.Ended.After(s.from) {
			return true
		}
	}
	return false
}

// line is the line to the servers: as far as the next town, and none too good.
var line = lab.Impairment{Delay: 5 * time.Millisecond, Loss: 0.005}

// theCensor acts on a hello that shows the name, and forgets it.
const theCensor = "gfw-2022"

func (h *house) build(seed uint64) (err error) {
	if h.lab, err = lab.New(lab.Options{Seed: seed, Slow: true, ToServer: line, ToClient: line}); err != nil {
		return err
	}
	// A server's last words are said as often as usual, which a lab shortens.
	if err := h.lab.Server.Sysctl("net/ipv4/tcp_orphan_retries", "0"); err != nil {
		return err
	}
	p, err := censor.Lookup(theCensor)
	if err != nil {
		return err
	}
	p.Residual = censor.Residual{}
	h.lab.SetCensor(p)
	h.counts = map[string]int{}
	return h.servers.serve(h.lab)
}

// configs are what a house's b4d runs with, in turn: they differ in rules,
// strategies, ports, answers, and the engine.
var configs = []struct{ engine, options, strategy string }{
	{"nfqueue", "", "option tls 'split(midsld) disorder'\n\toption quic 'split(midsld) disorder'"},
	{"tun", "", "option tls 'split(midsld) disorder'"},
	{"nfqueue", "list tcp_port '443'\n\tlist tcp_port '8443'", "option tls 'split(1, midsld) disorder'"},
	{"tun", "list tcp_port '443'\n\tlist tcp_port '8443'\n\tlist wan 'wan'", "option tls 'split(1, midsld) disorder'"},
	{"nfqueue", "option observe '1'\n\tlist wan 'wan'", "option tls 'split(midsld) disorder'\n\toption http 'hostcase split(midsld) disorder'\n\toption quic 'split(midsld)'"},
	{"tun", "option router '0'", "option tls 'split(midsld)'\n\toption http 'hostcase split(midsld) disorder'"},
}

// config is the text of a house's configuration i.
func config(i int) string {
	c := &configs[i%len(configs)]
	return fmt.Sprintf(`
config rule 'other'
	list domain 'turn%d.example'
	option action 'pass'

config rule 'all'
	option strategy 'default'

config strategy 'default'
	%s

config b4 'main'
	option enabled '1'
	option engine '%s'
	%s
`, i, c.strategy, c.engine, c.options)
}

func engineOf(i int) string { return configs[i%len(configs)].engine }

func (h *house) launch(program string) (err error) {
	h.b4d, err = h.lab.StartB4D(program, config(h.turn))
	return err
}

// errNotThere says that b4d could not be started again.
var errNotThere = errors.New("there is no b4d")

// reload gives b4d the next of its configurations, n places on.
func (h *house) reload(n int) error {
	if h.b4d == nil {
		return errNotThere
	}
	from := time.Now()
	before := engineOf(h.turn)
	h.turn += n
	err := h.b4d.ReloadNow(config(h.turn))
	if engineOf(h.turn) != before {
		h.shut = append(h.shut, span{from, time.Now()})
	}
	return err
}

// kill kills b4d and, as procd would, starts it again after a second.
func (h *house) kill(program string) error {
	from, err := time.Now(), errNotThere
	if h.b4d != nil {
		err = h.b4d.Kill()
	}
	time.Sleep(time.Second)
	err = errors.Join(err, h.launch(program))
	h.shut = append(h.shut, span{from, time.Now()})
	return err
}

// stop stops b4d for good.
func (h *house) stop() error {
	if h.b4d == nil {
		return errNotThere
	}
	b := h.b4d
	h.b4d = nil
	return b.Stop()
}

func (h *house) close() (err error) {
	if h.client != nil {
		h.client.Process.Kill() // fails only where it has ended
		h.client.Wait()
	}
	if h.b4d != nil {
		err = h.b4d.Kill()
	}
	h.servers.close()
	if h.lab != nil {
		err = errors.Join(err, h.lab.Close())
	}
	return err
}

// startClient starts the house's client. Bursts begin after at.
func (h *house) startClient(length time.Duration, seed uint64, at time.Duration) error {
	h.client = exec.Command("/proc/self/exe", clientVerb, length.String(), strconv.FormatUint(seed, 10), at.String(), strconv.FormatBool(h.b4d != nil))
	h.client.Stderr = os.Stderr
	out, err := h.client.StdoutPipe()
	if err != nil {
		return err
	}
	h.out = json.NewDecoder(out)
	return h.lab.Client.Start(h.client)
}

// endClient waits for what the client has to report.
func (h *house) endClient() error {
	err := h.out.Decode(&h.report)
	err = errors.Join(err, h.client.Wait())
	h.client = nil
	if err != nil {
		return fmt.Errorf("client of %s: %w", h.name, err)
	}
	return nil
}

// A sample is how large b4d is.
type sample struct {
	at      time.Duration
	rss     int64 // bytes
	files   int
	threads int64
	tracked int // connections that the router knows
}

// look tells how the house's router and b4d are now.
func (h *house) look() (x sample, err error) {
	if x.tracked, err = h.lab.Router.Connections(); err != nil || h.b4d == nil {
		return x, err
	}
	pid := h.b4d.PID()
	kib, err1 := lab.StatusNumber(pid, "VmRSS")
	threads, err2 := lab.StatusNumber(pid, "Threads")
	files, err3 := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	x.rss, x.threads, x.files = kib<<10, threads, len(files)
	return x, errors.Join(err1, err2, err3)
}

// sample keeps what it looks like.
func (h *house) sample(at time.Duration) error {
	x, err := h.look()
	x.at = at
	h.samples = append(h.samples, x)
	return err
}
