package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// A sounding sends datagrams that b4d looks at: nobody sends them again, so each
// that is lost is seen to be.
type sounding struct {
	end        chan struct{}
	echoes     []*net.UDPConn
	live       sync.WaitGroup
	mu         sync.Mutex
	sent, back int
	err        error
}

// soundingPort is one that is watched for QUIC, and has a server of its own.
const soundingPort = 4443

// startSounding begins new flows of a few datagrams, in both families.
func startSounding(t *testing.T, l *Lab) *sounding {
	t.Helper()
	p := &sounding{end: make(chan struct{})}
	for _, v6 := range []bool{false, true} {
		to := netip.AddrPortFrom(Modern.Addr(v6).Addr(), soundingPort)
		err := l.Server.Do(func() error {
			echo, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(to))
			if err == nil {
				p.echoes = append(p.echoes, echo)
				go answer(echo)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 { // so that one waits at any moment
			p.live.Add(1)
			go func() {
				defer p.live.Done()
				for !p.over() {
					p.flow(l, to)
				}
			}()
		}
	}
	return p
}

// answer returns what comes, until c is closed.
func answer(c *net.UDPConn) {
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		c.WriteToUDPAddrPort(b[:n], from) // an answer lost is counted
	}
}

func (p *sounding) over() bool {
	select {
	case <-p.end:
		return true
	default:
		return false
	}
}

// flow sends datagrams that look like a handshake's, and takes them back.
func (p *sounding) flow(l *Lab, to netip.AddrPort) {
	const datagrams = 8
	c, err := l.dialUDP(l.Client, to)
	if err != nil {
		p.count(0, 0, err)
		return
	}
	defer c.Close()
	msg := bytes.Repeat([]byte{0xc3, 0, 0, 0, 1, 0, 0, 0}, 40)
	for range datagrams {
		if _, err := c.Write(msg); err != nil {
			p.count(0, 0, err)
			return
		}
		time.Sleep(time.Millisecond)
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second)) // a read that begins later does not look at what has come
	back := 0
	for b := make([]byte, 2048); back < datagrams; back++ {
		if _, err := c.Read(b); err != nil {
			break // what does not come is counted
		}
	}
	p.count(datagrams, back, nil)
}

func (p *sounding) count(sent, back int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent, p.back, p.err = p.sent+sent, p.back+back, errors.Join(p.err, err)
}

func (p *sounding) stop() (sent, lost int, err error) {
	close(p.end)
	p.live.Wait()
	for _, c := range p.echoes {
		c.Close()
	}
	return p.sent, p.sent - p.back, p.err
}

// reloadTexts are configurations that differ in rules, strategies, ports,
// replies, and the WAN's name, and treat the blocked name all the same.
func reloadTexts(engine string) []string {
	const quic = "\toption quic 'split(midsld) disorder'\n"
	text := func(tls, more string, options ...string) string {
		text := configure(engine, append(options, "list quic_port '443'", fmt.Sprintf("list quic_port '%d'", soundingPort))...)
		text += "\nconfig strategy 'default'\n\toption tls '" + tls + "'\n"
		if engine == "nfqueue" {
			text += quic
		}
		return text + more
	}
	observe := "option observe '1'"
	if engine != "nfqueue" {
		observe = ""
	}
	return []string{
		text("split(midsld) disorder", ""),
		text("split(midsld) disorder", "config rule 'none'\n\tlist domain 'none.example'\n\toption action 'pass'\nconfig rule 'all'\n",
			"list tcp_port '443'", "list tcp_port '8443'"),
		text("split(1, midsld) disorder", "", "list wan 'wan'"),
		text("split(midsld) disorder", "\toption http 'hostcase split(midsld) disorder'\n", observe, "option router '0'"),
	}
}

// underLoad does f while clients open connections and datagrams go to and fro.
// It is an error if any of them is lost.
func underLoad(t *testing.T, l *Lab, f func()) {
	t.Helper()
	c, s := startClients(l), startSounding(t, l)
	f()
	sent, lost, err := s.stop()
	opened, failed := c.stop()
	if err := errors.Join(err, failed); err != nil {
		t.Error(err)
	}
	if lost != 0 || sent == 0 || opened == 0 {
		t.Errorf("%d of %d datagrams are lost, %d connections were opened", lost, sent, opened)
	}
	t.Logf("%d datagrams, %d connections", sent, opened)
}

// Whatever a reload changes, and however many come one after the other under
// load, no packet that waits for b4d is lost, and no hello is left untreated.
func TestReloadLosesNothing(t *testing.T) {
	t.Parallel()
	const reloads = 40
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		texts := reloadTexts(engine)
		d := launchB4D(t, l, texts[0])
		l.SetCensor(profile(t))
		files := mustFiles(t, d)
		underLoad(t, l, func() {
			for i := range reloads {
				if err := d.ReloadNow(texts[(i+1)%len(texts)]); err != nil {
					t.Error(err)
				}
			}
		})
		clean(t, l)
		filesAgain(t, d, files, "after the reloads")
	})
}

// While the engine changes, connections go on and open, and no packet is lost
// with the queue or the device that goes away. Then blocked sites open.
func TestSwitchEngineUnderLoad(t *testing.T) {
	t.Parallel()
	list := testEngines()
	if len(list) < 2 {
		t.Skip("there is one engine only")
	}
	const switches = 12
	l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
	d := launchB4D(t, l, reloadTexts(list[0])[0])
	underLoad(t, l, func() {
		for i := range switches {
			if err := d.ReloadNow(reloadTexts(list[(i+1)%len(list)])[0]); err != nil {
				t.Error(err)
			}
		}
	})
	opensAgain(t, l, "after the last change")
}
