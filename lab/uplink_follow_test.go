package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// b4d follows what has changed within a second, and on a busy machine some time.
const (
	follows      = time.Second
	followsLimit = 10 * time.Second
)

// followed waits until b4d has followed a change: it finds nothing amiss, engine tun
// has the uplink that is wanted, and blocked sites open, as they are to do from then
// on. What b4d has not heard of yet its status does not show, hence the wait ahead.
func followed(t *testing.T, l *Lab, d *B4D, uplink, after string) {
	t.Helper()
	start := time.Now()
	time.Sleep(follows)
	err := within(followsLimit, func() error {
		if err := d.content(uplink); err != nil {
			return err
		}
		for _, v6 := range []bool{false, true} {
			if err := l.CheckOpen(profile(t), Request{Host: Blocked, V6: v6, Timeout: verdictLimit}); err != nil {
				return err
			}
		}
		return nil
	})
	took := time.Since(start).Round(time.Millisecond)
	if err != nil {
		t.Errorf("%v after %s: %v", took, after, err)
	} else {
		t.Logf("%v after %s b4d has followed", took, after)
	}
	openNow(t, l, after)
}

// content asks that status finds nothing amiss, and has the uplink.
func (d *B4D) content(uplink string) error {
	s, err := d.Status()
	if err == nil && len(s.Health) != 0 {
		err = fmt.Errorf("status says %q", s.Health)
	}
	return errors.Join(err, s.leavesBy(uplink))
}

// leavesBy asks that s says this of the uplink.
func (s *Status) leavesBy(uplink string) error {
	if !strings.Contains(s.Engine.Uplink, uplink) {
		return fmt.Errorf("status says that the uplink is %q", s.Engine.Uplink)
	}
	return nil
}

// ofTUN is what status says of the uplink with engine tun alone.
func ofTUN(engine, uplink string) string {
	if engine != "tun" {
		return ""
	}
	return uplink
}

// openNow wants blocked sites to open in both families.
func openNow(t *testing.T, l *Lab, after string) {
	t.Helper()
	for _, v6 := range []bool{false, true} {
		if err := l.CheckOpen(profile(t), Request{Host: Blocked, V6: v6}); err != nil {
			t.Errorf("after %s, v6 %t: %v", after, v6, err)
		}
	}
}

// chains are those of b4's table, with the numbers that the kernel gave them when
// they were made.
func chains(t *testing.T, l *Lab) []string {
	t.Helper()
	list := slices.DeleteFunc(numbered(t, l, unix.NFT_MSG_GETCHAIN), func(s string) bool { return !strings.HasPrefix(s, "b4 ") })
	if len(list) == 0 {
		t.Fatal("b4 has no chains")
	}
	return list
}

// othersRules are the rules of all tables but b4's, with their numbers.
func othersRules(t *testing.T, l *Lab) []string {
	t.Helper()
	return slices.DeleteFunc(numbered(t, l, unix.NFT_MSG_GETRULE), func(s string) bool { return strings.HasPrefix(s, "b4 ") })
}

// numbered are the chains or rules of the router with table, chain and number, sorted.
// Of both the first attribute is the table; in the next two, one is the name and the
// other, of eight bytes, the number.
func numbered(t *testing.T, l *Lab, get int) (list []string) {
	t.Helper()
	err := l.Router.Do(func() error {
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|get, unix.NLM_F_DUMP)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_INET})
		msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
		for errors.Is(err, nl.ErrDumpInterrupted) { // by a transaction, as b4d's answer is
			msgs, err = req.Execute(unix.NETLINK_NETFILTER, 0)
		}
		for _, m := range msgs {
			attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
			if err != nil {
				return err
			}
			var names, number string
			for _, a := range attrs {
				switch {
				case a.Attr.Type > unix.NFTA_CHAIN_NAME:
				case get == unix.NFT_MSG_GETCHAIN && a.Attr.Type == unix.NFTA_CHAIN_HANDLE, get == unix.NFT_MSG_GETRULE && a.Attr.Type == unix.NFTA_RULE_HANDLE:
					number = fmt.Sprintf("%x", a.Value)
				default:
					names += string(a.Value[:len(a.Value)-1]) + " "
				}
			}
			list = append(list, names+number)
		}
		return err
	})
	if err != nil {
		t.Fatal("list nftables:", err)
	}
	slices.Sort(list)
	return list
}

// Whatever a provider does, blocked sites soon open again, by rules that were
// changed in place; nothing leaves with an address of the LAN, and what is under way
// by another uplink goes on.
func TestFollows(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		t.Parallel()
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		second := l.secondWAN(t)
		if err := errors.Join(masquerade(l.Router, second.aDev), l.Router.route(Retry.V4.String()+"/32", second.b4, second.aDev),
			l.Router.route(Retry.V6.String()+"/128", second.b6, second.aDev)); err != nil {
			t.Fatal(err)
		}
		options := []string{"list wan 'wan'"}
		if engine != "tun" {
			options = append(options, "list wan 'wan2'")
		}
		d := launchB4D(t, l, configure(engine, options...))
		d.moved = true
		openNow(t, l, "the start")
		under := underWay(l)
		before, watch := chains(t, l), watchLAN(t, l)

		for _, change := range []struct {
			what, uplink string // and what engine tun says then
			do           func() error
		}{
			{"a renewal with other addresses", "198.51.100.9; IPv6 masqueraded as 2001:db8:f::9", func() error {
				return l.SetWAN(netip.MustParseAddr("198.51.100.9"), netip.MustParseAddr("2001:db8:f::9"))
			}},
			{"a link that was down", "198.51.100.9; IPv6 masqueraded as 2001:db8:f::9", func() error { return l.FlapWAN(200 * time.Millisecond) }},
			{"another metric", "198.51.100.9; IPv6 masqueraded as 2001:db8:f::9", func() error { return l.SetMetric(2048) }},
			{"another IPv6 prefix", "198.51.100.9; IPv6 masqueraded as 2001:db8:f::7", func() error {
				return l.SetWAN6(netip.MustParseAddr("2001:db8:f::7"), func() {
					followed(t, l, d, ofTUN(engine, "IPv6 masqueraded as 2001:db8:f::7"), "a deprecated IPv6 prefix")
				})
			}},
			{"another device", "198.51.100.2; IPv6 masqueraded as 2001:db8:f::2", func() error {
				if n := watch.packets(); n != 0 {
					t.Errorf("%d packets left with an address of the LAN", n)
				}
				err := l.CutWAN()
				time.Sleep(300 * time.Millisecond)
				if err = errors.Join(err, l.MendWAN()); err == nil {
					watch = watchLAN(t, l)
				}
				return err
			}},
		} {
			if err := change.do(); err != nil {
				t.Fatalf("%s: %v", change.what, err)
			}
			followed(t, l, d, ofTUN(engine, change.uplink), change.what)
			if after := chains(t, l); !slices.Equal(before, after) {
				t.Errorf("after %s the chains are %v, and were %v", change.what, after, before)
			}
		}
		if n := watch.packets(); n != 0 {
			t.Errorf("%d packets left with an address of the LAN", n)
		}
		if err := under.end(); err != nil {
			t.Error("by the other uplink:", err)
		}
	})
}

// downloads are under way as long as they are let.
type downloads struct {
	last  chan struct{}
	ended chan error
}

// underWay begins a download of each family from a site that only tests of two
// uplinks lead by the second.
func underWay(l *Lab) *downloads {
	u := &downloads{make(chan struct{}), make(chan error, 2)}
	for _, v6 := range []bool{false, true} {
		go func() {
			r := Request{Host: Allowed, Site: Retry, V6: v6, Timeout: 5 * time.Minute, Pace: func(int64) {
				select {
				case <-u.last:
				case <-time.After(50 * time.Millisecond):
				}
			}}
			u.ended <- l.Download(r, 64<<20)
		}()
	}
	return u
}

// end lets them come to their end.
func (u *downloads) end() error {
	if len(u.ended) > 0 {
		return errors.Join(errors.New("over before the changes were"), <-u.ended)
	}
	close(u.last)
	return errors.Join(<-u.ended, <-u.ended)
}
