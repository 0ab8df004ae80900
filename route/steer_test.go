package route

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"b4/mark"
	"b4/nstest"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// discard is the port that test datagrams go to.
const discard = 9

// udp is an empty datagram.
func udp(src, dst string) []byte {
	from, to := addrs(src), addrs(dst)
	datagram := []byte{0, discard, 0, discard, 0, 8, 0, 0}
	if len(from) == 16 {
		binary.BigEndian.PutUint16(datagram[6:], ^sum(append(append(append([]byte{0, 8, 0, unix.IPPROTO_UDP}, from...), to...), datagram...)))
		head := append([]byte{0x60, 0, 0, 0, 0, 8, unix.IPPROTO_UDP, 64}, from...)
		return append(append(head, to...), datagram...)
	}
	head := append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}, from...)
	head = append(head, to...)
	binary.BigEndian.PutUint16(head[10:], ^sum(head))
	return append(head, datagram...)
}

func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 0; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	return uint16(s>>16) + uint16(s)
}

// arrives waits for a test datagram: the kernel sends router solicitations and
// the like of its own.
func (n *netns) arrives(f *os.File, wait time.Duration) bool {
	n.Helper()
	f.SetReadDeadline(time.Now().Add(wait))
	for b := make([]byte, 2048); ; {
		k, err := f.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err != nil {
			n.Fatal(err)
		}
		head := 20
		if b[0]>>4 == 6 {
			head = 40
		}
		if k == head+8 && binary.BigEndian.Uint16(b[head+2:]) == discard {
			return true
		}
	}
}

// markFrom marks what comes from a device, ahead of routing.
func (n *netns) markFrom(dev string, mark uint32) {
	n.Helper()
	c, err := nftables.New()
	if err != nil {
		n.Fatal(err)
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, dev)
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "test"})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "mark", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Immediate{Register: 1, Data: u32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
	}})
	if err := c.Flush(); err != nil {
		n.Fatal(err)
	}
}

// send sends a test datagram of the router's own.
func (n *netns) send(dst string, mark uint32) {
	n.Helper()
	to := netip.MustParseAddr(dst)
	fd, err := unix.Socket(int(familyOf(to.Is6())), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		n.Fatal(err)
	}
	defer unix.Close(fd)
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: discard, Addr: to.As16()}
	if to.Is4() {
		sa = &unix.SockaddrInet4{Port: discard, Addr: to.As4()}
	}
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)), unix.Sendto(fd, nil, 0, sa)); err != nil {
		n.Fatal(err)
	}
}

// The bit steers, whatever other bits there are, and nothing else does; with
// the TUN gone everything goes where it went before.
func TestSteer(t *testing.T) {
	n := enterNetNS(t)
	lan := n.openTUN("lan0")
	n.addr("lan0", "10.0.0.1/24")
	n.addr("lan0", "fd00:a::1/64")
	nstest.Sysctl(n, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	c := n.open()
	if err := c.Reconcile(n.plan(func(*Config) {})); err != nil {
		t.Fatal(err)
	}
	bit := config(t).Marks.Steer
	far := []string{"203.0.113.9", "2001:db8:f::9"}
	client := []string{"10.0.0.2", "fd00:a::2"}
	check := func(what string, mark uint32, to *os.File) {
		t.Helper()
		for i, dst := range far {
			if n.send(dst, mark); !n.arrives(to, soon) {
				t.Errorf("%s, mark %#x: not at %s", dst, mark, to.Name())
			}
			n.markFrom("lan0", mark)
			if _, err := lan.Write(udp(client[i], dst)); err != nil {
				t.Fatal(err)
			}
			if !n.arrives(to, soon) {
				t.Errorf("%s: from %s to %s, mark %#x: not at %s", what, client[i], dst, mark, to.Name())
			}
		}
	}
	check("steering", bit, n.tun)
	check("steering", bit|0x100, n.tun)
	check("steering", bit|0xf0ff00fe, n.tun)
	check("steering", 0, n.wan0)
	check("steering", bit<<1, n.wan0)
	check("steering", 0x200, n.wan1)
	check("steering", 0x10000, n.wan1)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	check("closed", bit, n.tun)
	n.tun.Close()
	check("device gone", bit, n.wan0)
	check("device gone", bit|0x200, n.wan1)
}

// child is set in the environment of a process that TestKill kills.
const child = "B4_ROUTE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		err := struggle()
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// struggle goes through all reloads, again and again.
func struggle() error {
	c, err := Open(nil)
	if err != nil {
		return err
	}
	marks, err := mark.New(mark.Base)
	if err != nil {
		return err
	}
	os.Stdout.WriteString("ready\n")
	for {
		for _, e := range edits {
			cfg := Config{Marks: marks, Table: DefaultTable, Device: "b4tun0", IPv4: true, IPv6: true,
				V4: netip.MustParsePrefix("10.255.0.1/30"), V6: netip.MustParsePrefix("fd62:34::1/64")}
			e.edit(&cfg)
			l, err := c.Links()
			if err != nil {
				return err
			}
			s, err := Plan(cfg, l)
			if err != nil {
				return err
			}
			if err := c.Reconcile(s); err != nil {
				return err
			}
		}
	}
}

// A process that is killed anywhere within its changes leaves nobody else's
// routes changed, and nothing that the next one does not find.
func TestKill(t *testing.T) {
	n := enterNetNS(t)
	n.openTUN("b4tun1")
	before := n.others()
	for range 50 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		ready := make([]byte, 6)
		_, err = out.Read(ready)
		time.Sleep(rand.N(20 * time.Millisecond))
		if err := errors.Join(err, cmd.Process.Kill()); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("ended by itself: %v", err)
		}
		n.untouched("killed", before)
		if err := Cleanup(); err != nil {
			t.Fatal(err)
		}
		for _, s := range n.ours() {
			if !strings.Contains(s, "inet") { // addresses go with their device
				t.Fatalf("left over: %s", s)
			}
		}
	}
	n.untouched("cleaned up", before)
}
