package tun_test

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"b4/desync"
	"b4/engine"
	"b4/packet"
	"b4/pipeline"
	"b4/tun"
	"b4/tun/tuntest"
)

const host = "www.blocked.example"

// allTraffic runs the pipeline on a fake device as a mode does that takes all.
func allTraffic(t *testing.T) *tuntest.Engine {
	t.Helper()
	strategy, err := desync.TLS.Parse("split(midsld) disorder")
	if err != nil {
		t.Fatal(err)
	}
	p := pipeline.New(64, &pipeline.Config{All: true, Ports: []uint16{443}, Rules: []pipeline.Rule{{Name: "all", For: [desync.Protos]pipeline.Treatment{{Steps: strategy}}}}})
	e := tuntest.New(tun.Config{Back: true, Whole: pipeline.Whole, Report: func(err error) { t.Error(err) }})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- e.Run(p) }()
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), <-end); err != nil {
			t.Error(err)
		}
	})
	return e
}

// part is payload at an offset of a stream, in segments of size; 0 is one packet.
func part(from, to netip.AddrPort, off int, payload []byte, size int) (tun.Header, []byte) {
	s := packet.Segment{Src: from, Dst: to, Seq: 1000 + uint32(off), Ack: 6, Flags: packet.ACK | packet.PSH, Payload: payload}
	b := s.Append(nil)
	if size == 0 {
		return tun.Header{}, b
	}
	h := tun.Header{Flags: 1, GSOType: 1, GSOSize: uint16(size), CsumStart: 20, CsumOffset: 16}
	if from.Addr().Is6() {
		h.GSOType, h.CsumStart = 4, 40
	}
	b[int(h.CsumStart)+16]++ // not what is right on the wire
	return h, b
}

// A hello is treated, in however many superpackets it comes, and nothing leaves
// by itself that no path carries. All else goes back in one piece.
func TestAllTraffic(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{src4, dst4}, {src6, dst6}} {
		client, server := ends[0], ends[1]
		for _, size := range []int{600, 1700, 2200, 3000} {
			for _, first := range []int{0, 100, 1400} { // bytes that come ahead of the rest
				if first >= size {
					continue
				}
				e, msg := allTraffic(t), tun.BigHello(host, size)
				var wire [][]byte
				var verdicts []engine.Verdict
				if first > 0 {
					o := e.PushSuper(part(client, server, 0, msg[:first], 0))
					wire, verdicts = append(wire, o.Wire...), append(verdicts, o.Verdicts...)
				}
				o := e.PushSuper(part(client, server, first, msg[first:], 1400))
				wire, verdicts = append(wire, o.Wire...), append(verdicts, o.Verdicts...)
				if len(o.Back) > 0 || verdicts[len(verdicts)-1].Act() != engine.Replace {
					t.Errorf("%d bytes, %d ahead: verdicts %v, %d packets back", size, first, verdicts, len(o.Back))
				}
				if want := (size - first + 1399) / 1400; first == 0 && len(verdicts) != want {
					t.Errorf("%d bytes were judged as %d packets, want %d", size, len(verdicts), want)
				}
				check(t, wire, msg)

				for _, dir := range [][2]netip.AddrPort{{client, server}, {server, client}} {
					h, bulk := part(dir[0], dir[1], size, make([]byte, 50_000), 1400)
					o := e.PushSuper(h, bulk)
					if len(o.Wire) > 0 || len(o.Back) != 1 || !bytes.Equal(o.Back[0], bulk) || o.Heads[0] != h ||
						!slices.Equal(o.Verdicts, []engine.Verdict{engine.Accept}) {
						t.Errorf("from %v: %d left, %d back, verdicts %v", dir[0], len(o.Wire), len(o.Back), o.Verdicts)
					}
				}
			}
		}
	}
}

// check asserts that what left makes up msg, and hides the name.
func check(t *testing.T, wire [][]byte, msg []byte) {
	t.Helper()
	got := make([]byte, len(msg))
	n := 0
	for _, b := range wire {
		var v packet.View
		if !v.Decode(b) || !packet.ChecksumOK(b) || len(b) > 1500 {
			t.Fatalf("packet of %d bytes: %x", len(b), b)
		}
		if bytes.Contains(v.Payload, []byte(host)) {
			t.Error("name shown")
		}
		n += copy(got[v.Seq-1000:], v.Payload)
	}
	if n != len(msg) || !bytes.Equal(got, msg) {
		t.Errorf("%d bytes left, or others", n)
	}
}
