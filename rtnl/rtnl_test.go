package rtnl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func datagram(typ, flags uint16, seq uint32, body ...[]byte) []byte {
	return AppendMessage(nil, typ, flags, seq, bytes.Join(body, nil))
}

// fakeKernel answers each request with the next script, whose messages get the
// request's sequence number where their own is 0.
func fakeKernel(t *testing.T, scripts ...[][]byte) *Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		b := make([]byte, 64)
		for _, script := range scripts {
			if _, err := theirs.Read(b); err != nil {
				return
			}
			for _, d := range script {
				d = slices.Clone(d)
				if binary.NativeEndian.Uint32(d[8:]) == 0 {
					copy(d[8:12], b[8:12])
				}
				theirs.Write(d)
			}
		}
		theirs.Close()
	}()
	return newConn(ours)
}

func parseNumber(all []uint32, m Message) []uint32 {
	if m.Type != unix.RTM_NEWLINK || len(m.Body) < 4 {
		return all
	}
	return append(all, binary.NativeEndian.Uint32(m.Body))
}

func TestDump(t *testing.T) {
	eth := func(seq uint32, flags uint16, n uint32) []byte { return datagram(unix.RTM_NEWLINK, flags, seq, u32(n)) }
	done := func(seq uint32, flags uint16) []byte { return datagram(unix.NLMSG_DONE, flags, seq, u32(0)) }
	refused := datagram(unix.NLMSG_ERROR, 0, 0, u32(^uint32(unix.EPERM)+1))
	const intr = unix.NLM_F_DUMP_INTR
	const others = 1 << 30 // another's sequence number
	torn := [][]byte{eth(0, 0, 9), eth(0, intr, 9), done(0, 0)}
	tests := []struct {
		name    string
		scripts [][][]byte
		want    []uint32
		err     error
	}{
		{"whole", [][][]byte{{eth(0, 0, 1), eth(0, 0, 2), done(0, 0)}}, []uint32{1, 2}, nil},
		{"many in one datagram", [][][]byte{{bytes.Join([][]byte{eth(others, 0, 8), done(others, 0)}, nil), eth(0, 0, 1), done(0, 0)}}, []uint32{1}, nil},
		{"interrupted once", [][][]byte{torn, {eth(0, 0, 1), done(0, 0)}}, []uint32{1}, nil},
		{"interrupted at the end", [][][]byte{{eth(0, 0, 9), done(0, intr)}, {eth(0, 0, 1), done(0, 0)}}, []uint32{1}, nil},
		{"interrupted for ever", slices.Repeat([][][]byte{{eth(0, intr, 9), done(0, 0)}}, dumpTries), nil, errInterrupted},
		{"another's answers", [][][]byte{{eth(others, intr, 9), done(others, 0), eth(0, 0, 1), done(0, 0)}}, []uint32{1}, nil},
		{"refused", [][][]byte{{refused}}, nil, unix.EPERM},
		{"cut", [][][]byte{{eth(0, 0, 1)[:18]}}, nil, errCut},
		{"error without a number", [][][]byte{{datagram(unix.NLMSG_ERROR, 0, 0)}}, nil, errCut},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Dump(fakeKernel(t, tt.scripts...), unix.RTM_GETLINK, unix.AF_UNSPEC, parseNumber)
			if !errors.Is(err, tt.err) || err == nil && !slices.Equal(got, tt.want) {
				t.Errorf("got %v, %v; want %v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

// An answer that is there is read, however long what was before it took.
func TestSlowDump(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two seconds, the limit")
	}
	t.Parallel()
	c := fakeKernel(t, [][]byte{datagram(unix.RTM_NEWLINK, 0, 0, u32(1)), datagram(unix.NLMSG_DONE, 0, 0, u32(0))})
	got, err := Dump(c, unix.RTM_GETLINK, unix.AF_UNSPEC, func(all []uint32, m Message) []uint32 {
		time.Sleep(limit + limit/10)
		return parseNumber(all, m)
	})
	if err != nil || !slices.Equal(got, []uint32{1}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// An error carries the kernel's number and, where it is well formed, its words.
func TestDo(t *testing.T) {
	head := make([]byte, unix.SizeofNlMsghdr)
	eperm := u32(^uint32(unix.EPERM) + 1)
	words := AppendAttr(nil, unix.NLMSGERR_ATTR_MSG, []byte("no luck\x00"))
	const explained = unix.NLM_F_ACK_TLVS | unix.NLM_F_CAPPED
	tests := []struct {
		name  string
		typ   uint16
		flags uint16
		body  [][]byte
		want  string
	}{
		{"acknowledged", unix.NLMSG_ERROR, unix.NLM_F_CAPPED, [][]byte{u32(0), head}, ""},
		{"refused", unix.NLMSG_ERROR, unix.NLM_F_CAPPED, [][]byte{eperm, head}, "operation not permitted"},
		{"explained", unix.NLMSG_ERROR, explained, [][]byte{eperm, head, AppendUint32(nil, 2, 7), words}, "operation not permitted (no luck)"},
		{"explained, acknowledged", unix.NLMSG_ERROR, explained, [][]byte{u32(0), head, words}, ""},
		{"explained at the end of a dump", unix.NLMSG_DONE, unix.NLM_F_ACK_TLVS, [][]byte{eperm, words}, "operation not permitted (no luck)"},
		{"request copied in full", unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, [][]byte{eperm, head, head, words}, "operation not permitted"},
		{"words cut", unix.NLMSG_ERROR, explained, [][]byte{eperm, head, words[:6]}, "operation not permitted"},
		{"request's head cut", unix.NLMSG_ERROR, explained, [][]byte{eperm, head[:8]}, "operation not permitted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := fakeKernel(t, [][]byte{datagram(tt.typ, tt.flags, 0, tt.body...)}).Do(unix.RTM_NEWROUTE, 0, nil)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, unix.EPERM) || err.Error() != tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAppend(t *testing.T) {
	m, rest, ok := CutMessage(AppendMessage(nil, 24, 5, 7, AppendAttr(nil, 3, []byte("abcde"))))
	if !ok || len(rest) != 0 || m.Type != 24 || m.Flags != 5 || m.Seq != 7 || len(m.Body) != 12 {
		t.Fatalf("message %+v, rest %d", m, len(rest))
	}
	typ, value, rest, ok := CutAttr(m.Body)
	if !ok || typ != 3 || string(value) != "abcde" || len(rest) != 0 {
		t.Errorf("attribute %d %q, rest %d", typ, value, len(rest))
	}
	r := Route{unix.AF_INET6, 1, 2, 3, 4, 5, 6, 7, 8 << 16}
	if got, ok := ParseRoute(r.Append(nil)); !ok || got != r {
		t.Errorf("route %+v, want %+v", got, r)
	}
}

// What the kernel's filter keeps, tried on a socket that needs no privilege.
func TestFilter(t *testing.T) {
	link := func(family uint8) []byte { return append([]byte{family}, make([]byte, unix.SizeofIfInfomsg-1)...) }
	rt := func(family, dst, typ uint8) []byte { return Route{Family: family, DstLen: dst, Type: typ}.Append(nil) }
	tests := []struct {
		name string
		in   []byte
		want bool
	}{
		{"device", datagram(unix.RTM_NEWLINK, 0, 0, link(0)), true},
		{"device gone", datagram(unix.RTM_DELLINK, 0, 0, link(0)), true},
		{"bridge port", datagram(unix.RTM_NEWLINK, 0, 0, link(unix.AF_BRIDGE)), false},
		{"bridge port gone", datagram(unix.RTM_DELLINK, 0, 0, link(unix.AF_BRIDGE)), false},
		{"address", datagram(unix.RTM_NEWADDR, 0, 0, make([]byte, unix.SizeofIfAddrmsg)), true},
		{"address gone", datagram(unix.RTM_DELADDR, 0, 0, make([]byte, unix.SizeofIfAddrmsg)), true},
		{"rule", datagram(unix.RTM_NEWRULE, 0, 0, make([]byte, unix.SizeofRtMsg)), true},
		{"rule gone", datagram(unix.RTM_DELRULE, 0, 0, make([]byte, unix.SizeofRtMsg)), true},
		{"rule for a prefix", datagram(unix.RTM_NEWRULE, 0, 0, rt(unix.AF_INET, 24, unix.FR_ACT_TO_TBL)), true},
		{"some route", datagram(unix.RTM_NEWROUTE, 0, 0, rt(unix.AF_INET, 24, unix.RTN_UNICAST)), false},
		{"some route gone", datagram(unix.RTM_DELROUTE, 0, 0, rt(unix.AF_INET6, 48, unix.RTN_UNICAST)), false},
		{"default route", datagram(unix.RTM_NEWROUTE, 0, 0, rt(unix.AF_INET, 0, unix.RTN_UNICAST)), true},
		{"default route gone", datagram(unix.RTM_DELROUTE, 0, 0, rt(unix.AF_INET6, 0, unix.RTN_UNICAST)), true},
		{"blackhole default", datagram(unix.RTM_NEWROUTE, 0, 0, rt(unix.AF_INET, 0, unix.RTN_BLACKHOLE)), true},
		{"cut", datagram(unix.RTM_NEWROUTE, 0, 0)[:16], false},
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	program := concern()
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fds[1], unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if _, err := unix.Write(fds[0], tt.in); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		n, err := unix.Read(fds[1], b)
		if got := err == nil; got != tt.want || got && n != len(tt.in) {
			t.Errorf("%s: kept %v (%d bytes of %d, %v), want %v", tt.name, got, n, len(tt.in), err, tt.want)
		}
	}
}

// FuzzMessages gives the readers any datagram: they end and stay inside it.
func FuzzMessages(f *testing.F) {
	f.Add(datagram(unix.RTM_NEWROUTE, 0, 1, Route{Family: unix.AF_INET}.Append(nil), AppendUint32(nil, unix.RTA_OIF, 3)))
	f.Add(datagram(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, 1, u32(0)))
	f.Add(datagram(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED, 1, u32(^uint32(unix.EPERM)+1),
		make([]byte, unix.SizeofNlMsghdr), AppendAttr(nil, unix.NLMSGERR_ATTR_MSG, []byte("no\x00"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b):len(b)]
		for len(b) > 0 {
			m, rest, ok := CutMessage(b)
			if !ok {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			b = rest
			if err := m.err(); err != nil && strings.Contains(err.Error(), "\x00") {
				t.Errorf("error %q", err)
			}
			for a := m.Body; len(a) > 0; {
				_, value, rest, ok := CutAttr(a)
				if !ok {
					break
				}
				if len(rest)+len(value)+unix.SizeofNlAttr > len(a) {
					t.Fatal("no progress")
				}
				a = rest
			}
		}
	})
}

const patience = 5 * time.Second

// calmness is well above what a watcher gathers events for.
const calmness = 500 * time.Millisecond
