package nfq

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"b4/engine"

	"golang.org/x/sys/unix"
)

// A recording is one message as nfnetlink_queue sends it: a 40 byte UDP packet
// on its way out of device 1, marked 0x2a.
type recording struct{ little, big string }

func (r recording) bytes(t testing.TB) []byte {
	s := r.big
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		s = r.little
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const udp = "4500002800010000401100007f0000017f000001" + "10002000001400006261626162616261" + "62616261"

var postrouting = recording{
	little: "6c000000 0003 0000 00000000 00000000 02 00 0219" +
		"0b00 0100 00000007 0800 04 00" + "0800 0600 00000001" + "0800 0300 0000002a" + "2c00 0a00" + udp,
	big: "0000006c 0300 0000 00000000 00000000 02 00 0219" +
		"000b 0001 00000007 0800 04 00" + "0008 0006 00000001" + "0008 0003 0000002a" + "002c 000a" + udp,
}

// The copy is cut to 20 of 1500 bytes, and the checksum is not filled in.
var prerouting = recording{
	little: "5c000000 0003 0000 00000000 00000000 02 00 0219" +
		"0b00 0100 ffffffff 0800 00 00" + "0800 0500 00000003" + "0800 0d00 000005dc" + "0800 0e00 00000003" + "1800 0a00" + udp[:40],
	big: "0000005c 0300 0000 00000000 00000000 02 00 0219" +
		"000b 0001 ffffffff 0800 00 00" + "0008 0005 00000003" + "0008 000d 000005dc" + "0008 000e 00000003" + "0018 000a" + udp[:40],
}

func TestParse(t *testing.T) {
	whole, _ := hex.DecodeString(udp)
	for _, c := range []struct {
		name string
		in   recording
		want engine.Packet
	}{
		{"postrouting", postrouting, engine.Packet{ID: 7, Meta: engine.Meta{Mark: 0x2a, Out: 1}, Full: 40, Bytes: whole}},
		{"prerouting, cut", prerouting, engine.Packet{ID: 1<<32 - 1, In: 3, Dir: engine.Reply, Full: 1500, Partial: true, Bytes: whole[:20]}},
	} {
		p := engine.Packet{Meta: engine.Meta{Mark: 99}, In: 99, Partial: true} // the last packet's
		k, _ := parse(c.in.bytes(t), &p)
		if k != kindPacket || !bytes.Equal(p.Bytes, c.want.Bytes) {
			t.Errorf("%s: kind %d, bytes %x", c.name, k, p.Bytes)
		}
		p.Bytes, c.want.Bytes = nil, nil
		if p.ID != c.want.ID || p.Meta != c.want.Meta || p.In != c.want.In || p.Dir != c.want.Dir || p.Full != c.want.Full || p.Partial != c.want.Partial {
			t.Errorf("%s: got %+v, want %+v", c.name, p, c.want)
		}
	}
}

// message builds what the kernel would send.
func message(id uint32, hook byte, attrs ...func([]byte) []byte) []byte {
	m := begin(nil, msgPacket, 0, 537)
	m = binary.BigEndian.AppendUint32(appendAttr(m, attrPacketHdr, 7), id)
	m = append(m, 8, 0, hook, 0)
	for _, a := range attrs {
		m = a(m)
	}
	return finish(m)
}

func payload(p []byte) func([]byte) []byte {
	return func(b []byte) []byte { return appendPayload(b, p) }
}

func number(typ uint16, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { return appendNumber(b, typ, v) }
}

func raw(b ...byte) func([]byte) []byte {
	return func(m []byte) []byte { return append(m, b...) }
}

func TestParseGarbled(t *testing.T) {
	good := message(7, 4, payload([]byte("0123456789")))
	long := append([]byte(nil), good...)
	binary.NativeEndian.PutUint32(long, 1<<31) // a declared length past the end
	short := append([]byte(nil), good...)
	binary.NativeEndian.PutUint32(short, 3)
	noID := finish(appendPayload(begin(nil, msgPacket, 0, 537), []byte("x")))
	answer := begin(nil, unix.NLMSG_ERROR, 0, 0)[:unix.NLMSG_HDRLEN]

	for _, c := range []struct {
		name  string
		in    []byte
		kind  kind
		bytes string
	}{
		{"empty", nil, kindOther, ""},
		{"half a header", good[:10], kindOther, ""},
		{"header only", good[:16], kindOther, ""},
		{"no attribute", good[:20], kindOther, ""},
		{"length past the end", long, kindPacket, "0123456789"},
		{"length below a header", short, kindOther, ""},
		{"no id", noID, kindOther, ""},
		{"payload cut off", good[:len(good)-4], kindPacket, ""},
		{"attribute of length 0", message(7, 4, raw(0, 0, 0, 0), payload([]byte("x"))), kindPacket, ""},
		{"attribute header cut", message(7, 4, raw(8)), kindPacket, ""},
		{"short id", finish(append(appendAttr(begin(nil, msgPacket, 0, 0), attrPacketHdr, 4), 0, 0, 0, 1)), kindOther, ""},
		{"unknown attribute", message(7, 4, number(99, 1), payload([]byte("x"))), kindPacket, "x"},
		{"no padding at the end", message(7, 4, payload([]byte("x")))[:37], kindPacket, "x"},
		{"answer without its number", finish(answer), kindOther, ""},
		{"another subsystem", finish(begin(nil, 1<<8, 0, 0)), kindOther, ""},
	} {
		var p engine.Packet
		k, _ := parse(c.in, &p)
		if k != c.kind || k == kindPacket && string(p.Bytes) != c.bytes {
			t.Errorf("%s: kind %d, bytes %q", c.name, k, p.Bytes)
		}
		if k == kindPacket && p.ID != 7 {
			t.Errorf("%s: id %d", c.name, p.ID)
		}
	}
}

func answer(e unix.Errno) []byte {
	m := begin(nil, unix.NLMSG_ERROR, 0, 0)[:unix.NLMSG_HDRLEN]
	return finish(binary.NativeEndian.AppendUint32(m, uint32(-int32(e))))
}

func TestParseAnswer(t *testing.T) {
	for _, e := range []unix.Errno{0, unix.EPERM, unix.EBUSY} {
		var p engine.Packet
		if k, got := parse(answer(e), &p); k != kindError || got != e {
			t.Errorf("%v: kind %d, %v", e, k, got)
		}
	}
}

// A length no packet can have must not reach those who make room for it.
func TestParseClaimedLength(t *testing.T) {
	var p engine.Packet
	parse(message(1, 4, number(attrCapLen, 1<<32-1)), &p)
	if p.Full != maxSuperpacket {
		t.Errorf("full length %d", p.Full)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(postrouting.bytes(f))
	f.Add(prerouting.bytes(f))
	f.Add(answer(unix.EPERM))
	f.Add(message(1, 4, number(attrCapLen, 1<<31), number(attrSkbInfo, 3), payload(make([]byte, 40))))
	f.Fuzz(func(t *testing.T, m []byte) {
		var p engine.Packet
		k, _ := parse(m, &p)
		if k == kindPacket && (p.Full < len(p.Bytes) || len(p.Bytes) > len(m) || cap(p.Bytes) != len(p.Bytes)) {
			t.Errorf("full %d, %d bytes with room for %d, of a message of %d", p.Full, len(p.Bytes), cap(p.Bytes), len(m))
		}
	})
}

func TestParseAllocs(t *testing.T) {
	m := postrouting.bytes(t)
	var p engine.Packet
	if n := testing.AllocsPerRun(1000, func() { parse(m, &p) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

// The messages we send, as text, in the layout of a little-endian host.
func TestBuild(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the golden bytes are little-endian")
	}
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{"bind", "28000000 0203 0500 00000000 00000000 00 00 0219 0800 0100 01 00 0000 0900 0200 00004080 02 000000",
			appendParams(appendCmd(begin(nil, msgConfig, unix.NLM_F_ACK, 537), cmdBind), copyRange)},
		{"length", "1c000000 0203 0500 00000000 00000000 00 00 0219 0800 0300 00000400",
			appendNumber(begin(nil, msgConfig, unix.NLM_F_ACK, 537), attrCfgMaxLen, 1024)},
		{"fail open", "24000000 0203 0500 00000000 00000000 00 00 0219 0800 0500 00000001 0800 0400 00000001",
			appendFlag(begin(nil, msgConfig, unix.NLM_F_ACK, 537), flagFailOpen)},
		{"batch", "20000000 0303 0100 00000000 00000000 00 00 0219 0c00 0200 00000001 00000009",
			appendVerdict(begin(nil, msgVerdictBatch, 0, 537), verdictAccept, 9)},
		{"replace", "30000000 0103 0100 00000000 00000000 00 00 0219 0c00 0200 00000001 00000009 0800 0300 04000000 0600 0a00 6869 0000",
			appendPayload(appendNumber(appendVerdict(begin(nil, msgVerdict, 0, 537), verdictAccept, 9), attrMark, 1<<26), []byte("hi"))},
	} {
		if got, want := hex.EncodeToString(finish(c.got)), strings.ReplaceAll(c.want, " ", ""); got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, want)
		}
	}
}
