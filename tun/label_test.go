package tun

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"b4/packet"
)

const testGroups = 0xf0000000

// labelled is a TCP segment as the kernel hands it over with a label, and before.
func labelled(family string, label uint16, partial bool) (h Header, with, without []byte) {
	without = sample(family, packet.TCP, 100)
	l, _ := transport(without)
	packet.Finish(without, l.l4, l.proto)
	with = bytes.Clone(without)
	binary.BigEndian.PutUint16(with[l.l4+18:], label)
	if partial {
		h = Header{Flags: needsCsum, CsumStart: uint16(l.l4), CsumOffset: 16}
		for _, b := range [][]byte{with, without} { // no sum of what is in it
			binary.BigEndian.PutUint16(b[l.l4+16:], packet.Fold(packet.Pseudo(b, l.proto, len(b)-l.l4)))
		}
	} else {
		packet.Finish(with, l.l4, l.proto)
	}
	return h, with, without
}

func TestUnlabel(t *testing.T) {
	for _, family := range []string{"v4", "v6"} {
		for label := range uint16(16) {
			for _, partial := range []bool{false, true} {
				h, got, want := labelled(family, label, partial)
				if mark := unlabel(&h, got, testGroups); mark != uint32(label)<<28 || !bytes.Equal(got, want) {
					t.Errorf("%s, label %d, partial %v: mark %#x, packet\n%x, want\n%x", family, label, partial, mark, got, want)
				}
			}
		}
		_, urgent, _ := labelled(family, 1, false)
		l, _ := transport(urgent)
		urgent[l.l4+13] |= tcpURG
		_, plain, _ := labelled("v6", 1, false)
		for what, b := range map[string][]byte{
			"urgent":              urgent,
			"behind an extension": extend(plain, 8),
			"UDP":                 sample(family, packet.UDP, 100),
			"short":               sample(family, packet.TCP, 0)[:l.l4+19],
		} {
			same := bytes.Clone(b)
			if mark := unlabel(&Header{}, b, testGroups); mark != 0 || !bytes.Equal(b, same) {
				t.Errorf("%s, %s: mark %#x, packet %x", family, what, mark, b)
			}
		}
	}
}

// Every segment of a superpacket has its mark, and no packet that of another. Who asks
// for no groups is given packets as they come.
func TestReadLabels(t *testing.T) {
	for _, groups := range []uint32{testGroups, 0} {
		var b belt
		want, pointers := map[int]uint32{}, []uint16{1, 8, 0, 2}
		for i, label := range pointers {
			pkt := sample([]string{"v4", "v6"}[i%2], packet.TCP, 1000)
			l, _ := transport(pkt)
			binary.BigEndian.PutUint16(pkt[l.l4+18:], label)
			want[i] = uint32(label) * (groups & -groups)
			b.add(pkt, []int{0, 300, 400, 0}[i])
		}
		b.limit = len(b.pkts)
		s := testStream(&b, Config{Groups: groups})
		var got []uint32
		var left []uint16
		for b.next < b.limit || s.cut.Len() > 0 {
			pkts, err := s.Read(time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pkts {
				l, _ := transport(p.Bytes)
				got, left = append(got, p.Mark), append(left, binary.BigEndian.Uint16(p.Bytes[l.l4+18:]))
				if !packet.ChecksumOK(p.Bytes) {
					t.Errorf("groups %#x: packet %x", groups, p.Bytes)
				}
			}
		}
		segments := []int{0, 1, 1, 1, 1, 2, 2, 2, 3} // whose each is
		if len(got) != len(segments) {
			t.Fatalf("groups %#x: %d packets, want %d", groups, len(got), len(segments))
		}
		for i, from := range segments {
			if got[i] != want[from] || groups == 0 && left[i] != pointers[from] || groups != 0 && left[i] != 0 {
				t.Errorf("groups %#x: segment %d has mark %#x and pointer %d, want mark %#x", groups, i, got[i], left[i], want[from])
			}
		}
	}
}
