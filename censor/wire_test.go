package censor

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"go/build"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"b4/packet"
)

const (
	blockedName = "video.blocked.example"
	otherName   = "plain.allowed.example" // as long as blockedName
	segmentSize = 1400
)

// hello returns a real ClientHello for name: crypto/tls sends it into a pipe.
// A large one does not fit a packet, by the post-quantum key share where the
// toolchain has it (Go 1.24) and by a long ALPN list where not.
func hello(tb testing.TB, name string, large bool) []byte {
	tb.Helper()
	cfg := &tls.Config{ServerName: name, CurvePreferences: []tls.CurveID{tls.X25519}}
	if !large {
		return clientHello(tb, cfg)
	}
	if slices.Contains(build.Default.ReleaseTags, "go1.24") {
		cfg.CurvePreferences = []tls.CurveID{4588, tls.X25519} // X25519MLKEM768
	}
	b := clientHello(tb, cfg)
	for i := 0; len(b) < segmentSize+100; i++ {
		cfg.NextProtos = append(cfg.NextProtos, fmt.Sprintf("filler-protocol-of-fifty-bytes-to-make-it-long-%02d", i))
		b = clientHello(tb, cfg)
	}
	return b
}

func clientHello(tb testing.TB, cfg *tls.Config) []byte {
	tb.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, cfg).Handshake() // ends with an error when either side closes
		client.Close()
	}()
	b := make([]byte, 1<<14)
	n, err := server.Read(b)
	if err != nil {
		tb.Fatal(err)
	}
	return b[:n]
}

// A family is a client and a server that speak the same IP.
type family struct {
	name           string
	client, server netip.AddrPort
}

var families = []family{
	{"v4", netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("198.51.100.7:443")},
	{"v6", netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8:1::7]:443")},
}

var epoch = time.Unix(1_700_000_000, 0)

// A wire is one connection through a censor. Sequence numbers wrap on the way.
type wire struct {
	tb     testing.TB
	c      *Censor
	now    time.Time
	client netip.AddrPort
	server netip.AddrPort

	seq, ack uint32 // the client's next, and the server's next
	passed   int    // packets forwarded
}

const (
	firstSeq = 0xffffff00
	firstAck = 0xffffffe0
)

func newWire(tb testing.TB, p Profile, f family) *wire {
	return &wire{tb: tb, c: New(p, []string{"blocked.example"}, 1), now: epoch,
		client: f.client, server: f.server, seq: firstSeq, ack: firstAck}
}

func (w *wire) judge(s packet.Segment, fromClient bool) Verdict {
	v := w.c.Judge(w.now, s.Append(nil), fromClient)
	if v.Forward {
		w.passed++
	}
	return v
}

// open is the handshake, up to the client's acknowledgement.
func (w *wire) open() {
	w.judge(w.out(firstSeq-1, packet.SYN, nil), true)
	w.judge(w.in(firstAck-1, packet.SYN|packet.ACK, nil), false)
	w.judge(w.out(firstSeq, packet.ACK, nil), true)
}

func (w *wire) out(seq uint32, flags uint8, payload []byte) packet.Segment {
	s := packet.Segment{Src: w.client, Dst: w.server, Seq: seq, Flags: flags, TTL: 60, Payload: payload}
	if flags&packet.ACK != 0 {
		s.Ack = w.ack
	}
	return s
}

func (w *wire) in(seq uint32, flags uint8, payload []byte) packet.Segment {
	return packet.Segment{Src: w.server, Dst: w.client, Seq: seq, Ack: w.seq, Flags: flags, TTL: 50, ID: 77, Payload: payload}
}

// send passes payload as client data at off from the stream's begin.
func (w *wire) send(off int, payload []byte) Verdict {
	return w.judge(w.out(firstSeq+uint32(off), packet.PSH|packet.ACK, payload), true)
}

// reply passes payload as server data.
func (w *wire) reply(payload []byte) Verdict {
	return w.judge(w.in(w.ack, packet.PSH|packet.ACK, payload), false)
}

func (w *wire) blocked() bool { return w.c.Stats().Blocked > 0 }

// spoil makes the TCP checksum of a packet wrong.
func spoil(b []byte) []byte {
	var v packet.View
	if v.Decode(b) {
		b[v.IPLen+16] ^= 0x55
	}
	return b
}

// nameAt is the offset of name's middle in a hello.
func nameAt(tb testing.TB, hello []byte, name string) int {
	tb.Helper()
	for i := range hello {
		if len(hello)-i >= len(name) && string(hello[i:i+len(name)]) == name {
			return i + len(name)/2
		}
	}
	tb.Fatalf("no %s in hello", name)
	return 0
}

// splitRecord cuts the one record of a hello into two at offset at of its body.
func splitRecord(hello []byte, at int) []byte {
	out := append([]byte(nil), hello[:at+recordHeader]...)
	binary.BigEndian.PutUint16(out[3:], uint16(at))
	out = append(out, 22, 3, 1)
	out = binary.BigEndian.AppendUint16(out, uint16(len(hello)-recordHeader-at))
	return append(out, hello[at+recordHeader:]...)
}

func profile(tb testing.TB, name string) Profile {
	tb.Helper()
	p, err := Lookup(name)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
