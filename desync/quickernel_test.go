package desync

import (
	"bytes"
	"net"
	"testing"
	"time"

	"b4/packet"
)

// The kernel's own UDP takes of every strategy's packets what the model takes,
// by both families and in any order of arrival.
func TestKernelTakesDatagrams(t *testing.T) {
	w := newWireTo(t)
	var socks [2]*net.UDPConn
	for i, at := range []string{"198.51.100.7", "2001:db8:1::7"} {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(at), Port: 443})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		socks[i] = c
		w.ready(t, c, last(quicEnv(t, i == 1, 700, 1250)))
	}
	for _, text := range append([]string{"fake(badsum)", "fake(hopbyhop)", "fake(destopt)", "fake(badsum, hopbyhop) ipfrag(16)"}, quicStrategies...) {
		s, err := QUIC.ParseWith(text, noFile)
		if err != nil {
			t.Fatal(err)
		}
		for i, sock := range socks {
			e := quicEnv(t, i == 1, 700, 1250)
			out := emitQUIC(t, s, e)
			for n, order := range orders(out.Len(), 3) {
				want := quicServer(t, out, order)
				for _, k := range order {
					if b := out.At(k).Bytes; ttlOf(b) >= 10 {
						w.put(t, b)
					}
				}
				w.put(t, last(e))
				if got := until(t, sock); !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) || len(got) != len(want) {
					t.Errorf("%s, v6 %v, order %d: the kernel takes %d datagrams, want %d", text, i == 1, n, len(got), len(want))
				}
			}
		}
	}
}

var lastText = []byte("nothing more comes")

// last is a datagram that says that none comes behind it.
func last(e *Env) []byte {
	b := append(bytes.Clone(e.Conn.Header), lastText...)
	packet.Finish(b, e.Conn.IPLen, packet.UDP)
	return b
}

// ready waits for the kernel to take b: that a device is up it learns a moment later.
func (w *wireTo) ready(t *testing.T, c *net.UDPConn, b []byte) {
	t.Helper()
	for range 200 {
		w.put(t, b)
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := c.Read(make([]byte, len(b))); err == nil {
			return
		}
	}
	t.Fatal("the kernel takes nothing")
}

// until reads what comes ahead of the last datagram.
func until(t *testing.T, c *net.UDPConn) (got [][]byte) {
	t.Helper()
	for b := make([]byte, 2048); ; {
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(b[:n], lastText) {
			return got
		}
		got = append(got, bytes.Clone(b[:n]))
	}
}
