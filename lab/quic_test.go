package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"b4/desync"
	"b4/engine"
	"b4/packet"
	"b4/quic"

	quicgo "github.com/quic-go/quic-go"
)

const quicName = "www.blocked.example"

// A quicRelay carries datagrams between clients and a server on loopback, as a
// router with a strategy and a path of ten hops would. Each client has a
// connection of its own to the server.
type quicRelay struct {
	conn     *net.UDPConn
	server   netip.AddrPort
	strategy *desync.Strategy

	mu      sync.Mutex
	clients map[netip.AddrPort]*quicClient

	initials, changed, named atomic.Int64
}

type quicClient struct {
	up      *net.UDPConn
	decoder quic.Decoder
	conn    quic.Conn
	plan    desync.Plan
	batch   engine.Batch
	named   bool
	rand    uint64
}

func newQUICRelay(t *testing.T, server netip.AddrPort, s *desync.Strategy) *quicRelay {
	t.Helper()
	r := &quicRelay{conn: loopbackUDP(t), server: server, strategy: s, clients: make(map[netip.AddrPort]*quicClient)}
	go r.run()
	t.Cleanup(r.close)
	return r
}

func loopbackUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (r *quicRelay) addr() *net.UDPAddr { return r.conn.LocalAddr().(*net.UDPAddr) }

func (r *quicRelay) close() {
	r.conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.clients {
		c.up.Close()
	}
}

func (r *quicRelay) run() {
	buf := make([]byte, 65536)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		c := r.client(from)
		if c == nil {
			return
		}
		for _, b := range r.rewrite(c, from, buf[:n]) {
			c.up.Write(b)
		}
	}
}

// client finds the client at from, or opens its way to the server.
func (r *quicRelay) client(from netip.AddrPort) *quicClient {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.clients[from]; c != nil {
		return c
	}
	up, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.server))
	if err != nil {
		return nil
	}
	c := &quicClient{up: up, rand: uint64(from.Port()) * 0x9e3779b97f4a7c15}
	r.clients[from] = c
	go func() {
		buf := make([]byte, 65536)
		for {
			n, err := up.Read(buf)
			if err != nil {
				return
			}
			r.conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	return c
}

// rewrite is what of client's datagram b comes to the server.
func (r *quicRelay) rewrite(c *quicClient, from netip.AddrPort, b []byte) [][]byte {
	kind, err := c.decoder.Datagram(&c.conn, b)
	if kind != quic.Initial || err != nil {
		return [][]byte{b}
	}
	r.initials.Add(1)
	h, _ := c.conn.Hello()
	if name := c.conn.AppendName(nil, &h); !c.named && string(name) == quicName {
		c.named = true
		r.named.Add(1)
	}
	e := desync.Env{
		Msg:  desync.Message{Proto: desync.QUIC, Bytes: b, Hello: h, Crypto: c.conn.Message(), QUIC: &c.conn},
		Conn: desync.Conn{Header: udpHeader(from, r.server), IPLen: 20, MTU: 1500, Hops: 10},
		Rand: c.rand,
	}
	c.batch.Reset()
	if err := r.strategy.Plan(&c.plan, &e); err != nil {
		return [][]byte{b}
	}
	if !c.plan.Whole() {
		r.changed.Add(1)
	}
	c.plan.Emit(&c.batch, engine.Meta{}, &e, 0, len(b))
	return arriving(&c.batch)
}

// udpHeader is the IPv4 and UDP header of a datagram.
func udpHeader(src, dst netip.AddrPort) []byte {
	h := make([]byte, 28)
	h[0], h[6], h[8], h[9] = 0x45, 0x40, 63, packet.UDP
	copy(h[12:], src.Addr().AsSlice())
	copy(h[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(h[20:], src.Port())
	binary.BigEndian.PutUint16(h[22:], dst.Port())
	return h
}

// arriving are the payloads of out's datagrams that arrive behind ten hops, their
// fragments, which stand side by side, the last first, put together.
func arriving(out *engine.Batch) (payloads [][]byte) {
	var last []byte
	for i := range out.Len() {
		b := out.At(i).Bytes
		if field := binary.BigEndian.Uint16(b[6:]); field&0x3fff != 0 {
			if field&0x2000 == 0 {
				last = b[20:]
				continue
			}
			b = append(bytes.Clone(b), last...)
			b[6], b[7] = 0, 0
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			b[10], b[11] = 0, 0
			binary.BigEndian.PutUint16(b[10:], ^packet.Fold(packet.Sum(0, b[:20])))
		}
		var v packet.View
		if v.Decode(b) && v.TTL > 10 && packet.ChecksumOK(b) {
			payloads = append(payloads, bytes.Clone(v.Payload))
		}
	}
	return payloads
}

// quicTLS is a server's configuration for quicName, and a client's that trusts it.
func quicTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{quicName}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	protos := []string{"h3"}
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: protos}
	return server, &tls.Config{RootCAs: roots, ServerName: quicName, NextProtos: protos}
}

// A quicEcho is a quic-go server that sends back what it gets.
type quicEcho struct {
	addr     netip.AddrPort
	accepted atomic.Int64
}

func newQUICEcho(t *testing.T, conf *tls.Config, retry bool) *quicEcho {
	t.Helper()
	c := loopbackUDP(t)
	tr := &quicgo.Transport{Conn: c, VerifySourceAddress: func(net.Addr) bool { return retry }}
	ln, err := tr.Listen(conf, &quicgo.Config{Versions: []quicgo.Version{quicgo.Version1, quicgo.Version2}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ln.Close()
		tr.Close()
	})
	s := &quicEcho{addr: c.LocalAddr().(*net.UDPAddr).AddrPort()}
	go func() {
		for {
			conn, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			s.accepted.Add(1)
			go func() {
				if st, err := conn.AcceptStream(context.Background()); err == nil {
					io.Copy(st, st)
					st.Close()
				}
			}()
		}
	}()
	return s
}

// quicDial opens a connection to addr and has it carry text there and back.
func quicDial(addr net.Addr, conf *tls.Config, v quicgo.Version, text []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := quicgo.DialAddr(ctx, addr.String(), conf, &quicgo.Config{Versions: []quicgo.Version{v}})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer conn.CloseWithError(0, "")
	st, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return fmt.Errorf("open a stream: %w", err)
	}
	go func() {
		st.Write(text)
		st.Close()
	}()
	got, err := io.ReadAll(st)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(got, text) {
		return fmt.Errorf("%d bytes come back, and not the %d that left", len(got), len(text))
	}
	return nil
}

// quicStrategies are every step for QUIC and some of them together.
var quicStrategies = []string{
	"",
	"split(midsld)",
	"split(1, host, midsld, endhost, -1) disorder",
	"disorder",
	"pad(1350)",
	"pad(1452) split(midsld) disorder",
	"udplen(100)",
	"fake",
	"fake(ttl=4, repeat=6)",
	"fake(clone)",
	"fake(clone, sni=www.w3.org, place=after)",
	"fake(badsum) fake(zero) fake(random)",
	"ipfrag(8)",
	"ipfrag(648) dup(1)",
	"fake(ttl=auto) split(midsld) disorder ipid(rnd)",
	"fake split(midsld) disorder udplen(8) ipfrag(24)",
	"fake(repeat=2) delay(5)",
}

// A quic-go client, which cuts and shuffles its hello, reaches a quic-go server
// through every strategy, its data are intact, and its name is found. The server
// never takes a decoy for a connection.
func TestQUICGo(t *testing.T) {
	t.Setenv(unscrambled, "false")
	server, client := quicTLS(t)
	small := client.Clone()
	small.CurvePreferences = []tls.CurveID{tls.X25519}
	again := server.Clone() // asks for another hello
	again.CurvePreferences = []tls.CurveID{tls.CurveP384}
	text := make([]byte, 60_000)
	rand.Read(text)
	tests := []struct {
		name    string
		server  *tls.Config
		client  *tls.Config
		version quicgo.Version
		retry   bool
	}{
		{"v1, post-quantum", server, client, quicgo.Version1, false},
		{"v1, post-quantum, retry", server, client, quicgo.Version1, true},
		{"v1, small", server, small, quicgo.Version1, false},
		{"v2, small, retry", server, small, quicgo.Version2, true},
		{"v2, post-quantum", server, client, quicgo.Version2, false},
		{"v1, another hello", again, client, quicgo.Version1, false},
	}
	total := 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			echo := newQUICEcho(t, tt.server, tt.retry)
			for i, s := range quicStrategies {
				strategy, err := desync.QUIC.Parse(s)
				if err != nil {
					t.Fatal(err)
				}
				r := newQUICRelay(t, echo.addr, strategy)
				if err := quicDial(r.addr(), tt.client, tt.version, text); err != nil {
					t.Errorf("%q: %v", s, err)
				}
				total++
				if r.named.Load() != 1 {
					t.Errorf("%q: the name is not found in %d datagrams", s, r.initials.Load())
				}
				// Where a hello has two datagrams the first leaves before the name is
				// known, and the client itself may have cut and turned what is asked.
				frames := strings.HasPrefix(s, "split") || s == "disorder"
				if n := r.changed.Load(); s == "" && n > 0 || s != "" && n == 0 && !frames {
					t.Errorf("%q: changes %d of %d datagrams", s, r.changed.Load(), r.initials.Load())
				}
				if n := echo.accepted.Load(); n != int64(i+1) {
					t.Errorf("%q: the server has accepted %d connections, want %d", s, n, i+1)
				}
			}
		})
	}
	t.Logf("%d connections", total)
}

// A server that gets a decoy without fooling answers the decoy's connection id,
// which no client has, and little: it closes.
func TestQUICGoRefusesDecoy(t *testing.T) {
	server, _ := quicTLS(t)
	echo := newQUICEcho(t, server, false)
	c := loopbackUDP(t)
	decoy, err := new(quic.Sealer).AppendDecoy(nil, quic.V1, "www.w3.org", 7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteToUDPAddrPort(decoy, echo.addr); err != nil {
		t.Fatal(err)
	}
	sent, buf := 0, make([]byte, 2048)
	c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // longer than the first repetition of an unanswered hello
	for {
		n, err := c.Read(buf)
		if err != nil {
			break
		}
		sent += n
		if h := quic.Parse(buf[:n]); !bytes.Equal(h.DCID, quic.Parse(decoy).SCID) {
			t.Errorf("the answer, %v, is for %x", h.Kind, h.DCID)
		}
	}
	if sent == 0 || sent > quic.MinDatagram {
		t.Errorf("the server answers with %d bytes, want a datagram that closes", sent)
	}
	if n := echo.accepted.Load(); n != 0 {
		t.Errorf("the server has accepted %d connections", n)
	}
}
