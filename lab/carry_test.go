package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"b4/packet"
)

// The firewall's clamping of the MSS has its effect with b4d as without.
func TestMSS(t *testing.T) {
	const mtu = 1400
	house(t, Options{Firewall: &Firewall{Masq4: true, MTUFix: true}}, func(t *testing.T, l *Lab) {
		if err := l.SetMTU(mtu); err != nil {
			t.Fatal(err)
		}
		families(t, func(t *testing.T, v6 bool) {
			var mu sync.Mutex
			var seen []int
			l.SetFilter(func(d Direction, pkt []byte) bool {
				var v packet.View
				if d == ToServer && v.Decode(pkt) && v.Proto == packet.TCP && v.Flags&(packet.SYN|packet.ACK) == packet.SYN {
					mu.Lock()
					defer mu.Unlock()
					seen = append(seen, mss(pkt[v.IPLen+20:len(pkt)-len(v.Payload)]))
				}
				return true
			})
			defer l.SetFilter(nil)
			if err := l.Open(Request{Host: Blocked, V6: v6}); err != nil {
				t.Error(err)
			}
			want := mtu - 40
			if v6 {
				want = mtu - 60
			}
			mu.Lock()
			defer mu.Unlock()
			if len(seen) == 0 || seen[0] != want {
				t.Errorf("the MSS of the SYNs is %v, want %d", seen, want)
			}
		})
	})
}

// mss reads the option of that name among the options of a TCP header.
func mss(options []byte) int {
	for len(options) >= 4 {
		switch options[0] {
		case 1:
			options = options[1:]
		case 2:
			return int(binary.BigEndian.Uint16(options[2:]))
		default:
			options = options[min(len(options), max(2, int(options[1]))):]
		}
	}
	return 0
}

// UDP comes through at speed, whole and in order.
func TestUDP(t *testing.T) { house(t, Options{}, udp) }

func udp(t *testing.T, l *Lab) {
	const datagrams, size, window = 6000, 1200, 64
	families(t, func(t *testing.T, v6 bool) {
		to := netip.AddrPortFrom(Modern.Addr(v6).Addr(), 4433)
		var server, client net.Conn
		err := l.Server.Do(func() (err error) {
			server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(to))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		go func() { // an echo, until it is closed
			c, buf := server.(*net.UDPConn), make([]byte, 2048)
			for {
				n, from, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				c.WriteToUDPAddrPort(buf[:n], from)
			}
		}()
		err = l.Client.Do(func() (err error) {
			client, err = net.Dial("udp", to.String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.SetDeadline(time.Now().Add(10 * time.Second))
		start, buf := time.Now(), make([]byte, size)
		for sent, got := 0, 0; got < datagrams; got++ {
			for ; sent < min(datagrams, got+window); sent++ {
				binary.BigEndian.PutUint32(buf, uint32(sent))
				if _, err := client.Write(buf); err != nil {
					t.Fatal(err)
				}
			}
			n, err := client.Read(buf)
			if err != nil || n != size || binary.BigEndian.Uint32(buf) != uint32(got) {
				t.Fatalf("datagram %d: %d bytes, number %d: %v", got, n, binary.BigEndian.Uint32(buf), err)
			}
		}
		t.Logf("%.0f Mbit/s each way", datagrams*size*8/time.Since(start).Seconds()/1e6)
	})
}
