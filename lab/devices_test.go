package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"b4/censor"
)

// A household is a lab with two clients on networks of their own, and one b4d.
type household struct {
	*testing.T
	lab   *Lab
	guest *Host
	d     *B4D
}

// altPort is where the sites answer, too.
const altPort = 8443

func newHousehold(t *testing.T, engine string) *household {
	t.Helper()
	h := &household{T: t, lab: build(t, Options{})}
	var err error
	h.guest, err = h.lab.NewGuest()
	must(t, err)
	t.Cleanup(func() { h.guest.Close() })
	must(t, h.relay())
	h.d = launchB4D(t, h.lab, configure(engine))
	return h
}

// relay has the sites answer at altPort as at 443.
func (h *household) relay() error {
	return h.lab.Server.Do(func() error {
		for _, v6 := range []bool{false, true} {
			to := Modern.Addr(v6)
			ln, err := listen(netip.AddrPortFrom(to.Addr(), altPort))
			if err != nil {
				return err
			}
			h.Cleanup(func() { ln.Close() })
			go func() {
				for {
					a, err := ln.Accept()
					if err != nil {
						return
					}
					go h.join(a, to)
				}
			}()
		}
		return nil
	})
}

// join carries what comes by a connection to another address, and back.
func (h *household) join(a net.Conn, to netip.AddrPort) {
	defer a.Close()
	var b net.Conn
	err := h.lab.Server.Do(func() (err error) { b, err = net.Dial("tcp", to.String()); return err })
	if err != nil {
		return
	}
	defer b.Close()
	go func() { io.Copy(b, a); b.Close() }()
	io.Copy(a, b)
}

// ask has the client, a guest and the router fetch a page in both families, all at
// once, each connection past a censor of its own. It returns who got it in both: "c",
// "g" and "r". That a family makes a difference is an error.
func (h *household) ask(name string, r Request) string {
	h.Helper()
	p := variant(h.T, name)
	j := &jury{profile: p, seats: map[seat]*censor.Censor{}}
	h.lab.SetJudge(j)
	defer h.lab.SetJudge(nil)
	var asking sync.WaitGroup
	var open [3][2]bool
	for who, from := range []*Host{h.lab.Client, h.guest, h.lab.Router} {
		for family := range open[who] {
			r := r
			r.From, r.V6, r.Timeout, r.Path = from, family == 1, verdictLimit, "/"
			asking.Add(1)
			go func() {
				defer asking.Done()
				err := h.judged(j, r)
				if open[who][family] = err == nil; errors.Is(err, errNotCensor) {
					h.Errorf("%s, v6 %t: the page of %s did not come: %v", from.Name, r.V6, r.Host, err)
				}
			}()
		}
	}
	asking.Wait()
	var got strings.Builder
	for who, letter := range "cgr" {
		if open[who][0] != open[who][1] {
			h.Errorf("%c: IPv4 open: %t, IPv6 open: %t", letter, open[who][0], open[who][1])
		}
		if open[who][0] {
			got.WriteRune(letter)
		}
	}
	return got.String()
}

// judged asks past j, and again where the page did not come in time and j had nothing
// to do with that: a machine with much to do may be too slow for verdictLimit.
func (h *household) judged(j *jury, r Request) (err error) {
	for range 3 {
		var res Result
		if res, err = h.lab.Get(r); err == nil {
			err = res.page(r.Host)
		}
		if err == nil || res.Local.IsValid() && j.blocked(r.V6, res.Local) {
			return err
		}
		err = fmt.Errorf("%w: %w", errNotCensor, err)
		h.Logf("%s, v6 %t: the page of %s: %v", r.From.Name, r.V6, r.Host, err)
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() {
			break
		}
	}
	return err
}

// Two clients behind a router, and itself: each rule for devices treats those that it
// is for, in both families, and nobody else.
func TestDevices(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		t.Parallel() // blocked clients wait
		h := newHousehold(t, engine)
		mac, err := h.lab.Client.MAC("eth0")
		must(t, err)
		dir := t.TempDir()
		names, servers := filepath.Join(dir, "names"), filepath.Join(dir, "servers")
		must(t, errors.Join(os.WriteFile(names, []byte("# not this one\n"+Blocked+"\n"), 0o600),
			os.WriteFile(servers, []byte(fmt.Sprintf("%s\n%s\n", Modern.V4, Modern.V6)), 0o600)))
		const (
			rest    = "config rule 'rest'\n"
			pass    = "\toption action 'pass'\n"
			subnet  = "\tlist source '" + guestNet4 + "'\n\tlist source '" + guestNet6 + "'\n"
			address = "\tlist source '192.168.1.2'\n\tlist source '2001:db8:1::2'\n"
			network = "\tlist interface '" + RouterGuest + "'\n"
			noQUIC  = "config strategy 'default'\n\toption quic 'split(midsld) disorder'\n"
		)
		site := func(s Site) string {
			return fmt.Sprintf("\tlist prefix '%s'\n\tlist prefix '%s'\n", s.V4, s.V6)
		}
		device := "\tlist mac '" + strings.ToUpper(mac.String()) + "'\n"
		rule := func(name string, options ...string) string {
			return "config rule '" + name + "'\n" + strings.Join(options, "")
		}
		for _, tt := range []struct {
			name  string
			main  string
			rules string
			want  string  // who gets the page
			r     Request // the zero value is for Blocked
			queue bool    // needs engine nfqueue
		}{
			{"nobody is treated", "", rule("none", "\tlist domain 'other.example'\n"), "", Request{}, false},
			{"all are treated", "", rest, "cgr", Request{}, false},
			{"the router is not", "option router '0'", rest, "cg", Request{}, false},

			{"a MAC", "", rule("x", device), "c", Request{}, false},
			{"an interface", "", rule("x", network), "g", Request{}, false},
			{"a network", "", rule("x", subnet), "g", Request{}, false},
			{"an address", "", rule("x", address), "c", Request{}, false},
			{"a MAC behind another interface", "", rule("x", device, network), "", Request{}, false},
			{"another interface", "", rule("x", "\tlist interface 'lo'\n"), "", Request{}, false},
			{"two rules", "", rule("x", device) + rule("y", subnet), "cg", Request{}, false},
			{"the router alone", "", rule("x", device, "\tlist domain 'other.example'\n") + rule("y", device, pass) + rule("z", network, pass) + rest, "r", Request{}, false},
			{"a name for a device", "", rule("x", network, "\tlist domain '"+Hard+"'\n") + rule("y", device, "\tlist domain 'other.example'\n"), "g", Request{Host: Hard}, false},

			{"but a MAC", "", rule("x", device, pass) + rest, "gr", Request{}, false},
			{"but an interface", "", rule("x", network, pass) + rest, "cr", Request{}, false},
			{"but a network", "", rule("x", subnet, pass) + rest, "cr", Request{}, false},
			{"but two", "", rule("x", subnet, pass) + rule("y", address, pass) + rest, "r", Request{}, false},
			{"but a MAC behind another interface", "", rule("x", device, network, pass) + rest, "cgr", Request{}, false},

			{"a port that main does not watch", "", rest, "", Request{Port: altPort}, false},
			{"a port of a rule", "", rule("x", "\tlist port '8443'\n"), "cgr", Request{Port: altPort}, false},
			{"another port", "", rule("x", "\tlist port '8443'\n"), "", Request{}, false},
			{"a port for a device", "", rule("x", device, "\tlist port '8443'\n") + rest, "cgr", Request{}, false},

			{"servers", "", rule("x", site(Modern)), "cgr", Request{}, false},
			{"servers, and another's page", "", rule("x", site(Modern)), "", Request{Site: Retry}, false},
			{"servers and names", "", rule("x", site(Modern), "\tlist domain 'other.example'\n"), "cgr", Request{}, false},
			{"servers but a name", "", rule("x", site(Modern), "\tlist not '"+Blocked+"'\n"), "", Request{}, false},
			{"servers for a device", "", rule("x", device, site(Modern)), "c", Request{}, false},
			{"but servers", "", rule("x", site(Modern), pass) + rest, "", Request{}, false},
			{"but servers, another", "", rule("x", site(Modern), pass) + rest, "cgr", Request{Site: Retry}, false},

			{"never by name", "option never '" + names + "'", rest, "", Request{}, false},
			{"never by name, another", "option never '" + names + "'", rest, "cgr", Request{Host: Hard}, false},
			{"never by address", "option never '" + servers + "'", rest, "", Request{}, false},
			{"never by address, another", "option never '" + servers + "'", rest, "cgr", Request{Site: Retry}, false},

			{"a MAC, and all is shown", steerAll, rule("x", device), "c", Request{}, false},
			{"servers, and all is shown", steerAll, rule("x", site(Modern)), "cgr", Request{}, false},
			{"QUIC of servers", "", rule("x", site(Modern)) + noQUIC, "cgr", Request{Proto: QUIC}, true},
			{"QUIC of a device", "", rule("x", device) + noQUIC, "c", Request{Proto: QUIC}, true},
		} {
			if tt.queue && engine != "nfqueue" {
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				h := *h
				h.T = t
				must(t, h.d.Reload(configure(engine, tt.main)+tt.rules))
				if tt.r.Host == "" {
					tt.r.Host = Blocked
				}
				name := testCensor
				if tt.r.Proto == QUIC {
					name = "gfw-quic"
				}
				if got := h.ask(name, tt.r); got != tt.want {
					t.Errorf("%q got the page, want %q", got, tt.want)
				}
			})
		}
	})
}
