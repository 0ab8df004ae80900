package fw

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func nlmsg(length int, flags uint16, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(length))
	b = binary.NativeEndian.AppendUint16(b, unix.NLMSG_ERROR)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, 7)
	return append(append(b, 0, 0, 0, 0), data...)
}

func TestCut(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want int // messages
	}{
		{"nothing", nil, 0},
		{"half a header", make([]byte, 15), 0},
		{"length 0", nlmsg(0, 0), 0},
		{"shorter than its header", nlmsg(15, 0), 0},
		{"longer than the datagram", nlmsg(17, 0), 0},
		{"longest", nlmsg(-1, 0), 0},
		{"no data", nlmsg(16, 0), 1},
		{"no padding at the end", nlmsg(17, 0, 1), 1},
		{"two", append(nlmsg(17, 0, 1, 0, 0, 0), nlmsg(16, 0)...), 2},
	}
	for _, tt := range tests {
		n := 0
		for _, ok := cut(&tt.in); ok; _, ok = cut(&tt.in) {
			n++
		}
		if n != tt.want {
			t.Errorf("%s: %d messages, want %d", tt.name, n, tt.want)
		}
	}
}

func TestRefusal(t *testing.T) {
	no := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.ENOENT)+1)
	no = append(no, make([]byte, unix.NLMSG_HDRLEN)...)
	words := append(no[:len(no):len(no)], attr(unix.NLMSGERR_ATTR_MSG, "No such\x00")...)
	const withWords = unix.NLM_F_CAPPED | unix.NLM_F_ACK_TLVS
	tests := []struct {
		name, want string
		flags      uint16
		data       []byte
	}{
		{"acknowledgement", "", 0, make([]byte, 20)},
		{"too short", "", 0, []byte{1, 2}},
		{"errno", "no such file or directory", unix.NLM_F_CAPPED, no},
		{"words", "no such file or directory (no such)", withWords, words},
		{"promised words", "no such file or directory", withWords, no},
		{"cut words", "no such file or directory", withWords, words[:len(words)-6]},
	}
	for _, tt := range tests {
		in := nlmsg(unix.NLMSG_HDRLEN+len(tt.data), tt.flags, tt.data...)
		m, ok := cut(&in)
		if !ok {
			t.Fatalf("%s: not a message", tt.name)
		}
		got := ""
		if r := m.refusal(); r != nil {
			got = r.Error()
			if r.seq != 7 {
				t.Errorf("%s: message %d, want 7", tt.name, r.seq)
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func attr(typ uint16, data string) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	return append(binary.NativeEndian.AppendUint16(b, typ), data...)
}
