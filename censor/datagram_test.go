package censor

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"b4/packet"
	"b4/quic"
	"b4/tlshello"
)

// initial is a datagram with the part [from, to) of a hello for name, sealed for
// version v.
func initial(t *testing.T, v quic.Version, name string, from, to int) []byte {
	t.Helper()
	h := tlshello.AppendDecoy(nil, name, 3)[recordHeader:]
	if to == 0 {
		to = len(h)
	}
	var s quic.Sealer
	b, err := s.Append(nil, &quic.Packet{
		Version: v, DCID: []byte("client's"), SCID: []byte("own"), Number: uint32(from), Offset: from, Crypto: h[from:to],
	}, quic.MinDatagram)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// datagram makes a UDP packet.
func datagram(src, dst netip.AddrPort, payload []byte) []byte {
	b := append([]byte{0x45, 0, 0, 0, 0, 9, 0, 0, 60, packet.UDP, 0, 0}, src.Addr().AsSlice()...)
	if src.Addr().Is6() {
		b = append([]byte{0x60, 0, 0, 0, 0, 0, packet.UDP, 60}, src.Addr().AsSlice()...)
	}
	b = append(b, dst.Addr().AsSlice()...)
	ipLen := len(b)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = append(append(b, 0, 0, 0, 0), payload...)
	packet.Finish(b, ipLen, packet.UDP)
	return b
}

func (w *wire) datagram(payload []byte, fromClient bool) Verdict {
	src, dst := w.client, w.server
	if !fromClient {
		src, dst = dst, src
	}
	return w.c.Judge(w.now, datagram(src, dst, payload), fromClient)
}

// What each profile makes of datagrams. Those not named let them go.
func TestDatagrams(t *testing.T) {
	whole := initial(t, quic.V1, blockedName, 0, 0)
	other := initial(t, quic.V1, otherName, 0, 0)
	one, two := initial(t, quic.V1, blockedName, 0, 60), initial(t, quic.V1, blockedName, 60, 0)
	low := func(w *wire) { w.client = netip.AddrPortFrom(w.client.Addr(), 400) }
	tests := []struct {
		name string
		send func(w *wire)
		acts []string
	}{
		{"whole", func(w *wire) { w.datagram(whole, true) }, []string{"tspu-quic22", "tspu-quic25", "gfw-quic", "kz"}},
		{"another name", func(w *wire) { w.datagram(other, true) }, []string{"tspu-quic22"}},
		{"version 2", func(w *wire) { w.datagram(initial(t, quic.V2, blockedName, 0, 0), true) }, nil},
		{"another port", func(w *wire) {
			w.server = netip.AddrPortFrom(w.server.Addr(), 8443)
			w.datagram(whole, true)
		}, []string{"tspu-quic25", "gfw-quic", "kz"}},
		{"from a low port", func(w *wire) { low(w); w.datagram(whole, true) }, []string{"tspu-quic22", "tspu-quic25", "kz"}},
		{"from outside", func(w *wire) { w.datagram(whole, false) }, nil},
		{"junk ahead", func(w *wire) { w.datagram([]byte("junk"), true); w.datagram(whole, true) }, []string{"tspu-quic22", "tspu-quic25", "kz"}},
		{"junk from the server ahead", func(w *wire) { w.datagram([]byte("junk"), false); w.datagram(whole, true) }, []string{"tspu-quic22", "tspu-quic25", "kz"}},
		{"two datagrams", func(w *wire) { w.datagram(one, true); w.datagram(two, true) }, []string{"tspu-quic22", "kz"}},
		{"two datagrams turned", func(w *wire) { w.datagram(two, true); w.datagram(one, true) }, []string{"tspu-quic22", "kz"}},
		{"another hello ahead", func(w *wire) { w.datagram(other, true); w.datagram(whole, true) }, []string{"tspu-quic22", "tspu-quic25", "kz"}},
		{"short header", func(w *wire) { w.datagram(append([]byte{0x40}, make([]byte, 1200)...), true) }, nil},
	}
	for _, tt := range tests {
		for _, name := range []string{"tspu-quic22", "tspu-quic25", "gfw-quic", "kz", "full", "tspu-2022-I"} {
			for _, f := range families {
				w := newWire(t, profile(t, name), f)
				tt.send(w)
				want := false
				for _, a := range tt.acts {
					want = want || a == name
				}
				if w.blocked() != want {
					t.Errorf("%s, %s, %s: blocked %v", tt.name, name, f.name, w.blocked())
				}
			}
		}
	}
}

// The drop begins late, hits the client's side alone, and spares other servers.
func TestLateDrop(t *testing.T) {
	p := profile(t, "gfw-quic")
	for _, f := range families {
		w := newWire(t, p, f)
		if v := w.datagram(initial(t, quic.V1, blockedName, 0, 0), true); !v.Forward {
			t.Error("the first datagram is dropped")
		}
		w.now = epoch.Add(p.Action.Delay[0] - 1)
		if !w.datagram([]byte("x"), true).Forward {
			t.Error("it begins too early")
		}
		w.now = epoch.Add(p.Action.Delay[1])
		w.client = nextPort(w.client)
		if w.datagram([]byte("x"), true).Forward || !w.datagram([]byte("x"), false).Forward {
			t.Error("the wrong side is dropped")
		}
		w.now = epoch.Add(180 * time.Second)
		if !w.datagram([]byte("x"), true).Forward {
			t.Error("it goes on for ever")
		}
	}
}

// Each packet renews the time, and nothing is forged against UDP.
func TestDatagramRenewed(t *testing.T) {
	w := newWire(t, profile(t, "tspu-quic22"), families[1])
	w.datagram(initial(t, quic.V1, otherName, 0, 0), true)
	for range 3 {
		w.now = w.now.Add(419 * time.Second)
		if v := w.datagram([]byte("x"), false); v.Forward || v.Inject != nil {
			t.Errorf("%+v", v)
		}
	}
	w.now = w.now.Add(420 * time.Second)
	if !w.datagram([]byte("x"), true).Forward {
		t.Error("it goes on for ever")
	}
}
