package netif

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeKernel answers each dump request with the next script, whose messages get
// the request's sequence number where their own is 0.
func fakeKernel(t *testing.T, scripts ...[][]byte) *os.File {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	ours.SetDeadline(time.Now().Add(5 * time.Second))
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
	return ours
}

func TestDump(t *testing.T) {
	eth := func(seq uint32, flags uint16, index int32) []byte {
		return datagram(unix.RTM_NEWLINK, flags, seq, ifinfo(0, index, 0, 0), name("eth"))
	}
	done := func(seq uint32, flags uint16) []byte { return datagram(unix.NLMSG_DONE, flags, seq, u32(0)) }
	refused := datagram(unix.NLMSG_ERROR, 0, 0, u32(^uint32(unix.EPERM)+1))
	const intr = unix.NLM_F_DUMP_INTR
	torn := [][]byte{eth(0, 0, 9), eth(0, intr, 9), done(0, 0)}
	tests := []struct {
		name    string
		scripts [][][]byte
		want    []int32
		err     error
	}{
		{"whole", [][][]byte{{eth(0, 0, 1), eth(0, 0, 2), done(0, 0)}}, []int32{1, 2}, nil},
		{"many in one datagram", [][][]byte{{bytes.Join([][]byte{eth(77, 0, 8), done(77, 0)}, nil), eth(0, 0, 1), done(0, 0)}}, []int32{1}, nil},
		{"interrupted once", [][][]byte{torn, {eth(0, 0, 1), done(0, 0)}}, []int32{1}, nil},
		{"interrupted at the end", [][][]byte{{eth(0, 0, 9), done(0, intr)}, {eth(0, 0, 1), done(0, 0)}}, []int32{1}, nil},
		{"interrupted for ever", slices.Repeat([][][]byte{{eth(0, intr, 9), done(0, 0)}}, dumpTries), nil, errInterrupted},
		{"another's answers", [][][]byte{{eth(77, intr, 9), done(77, 0), eth(0, 0, 1), done(0, 0)}}, []int32{1}, nil},
		{"refused", [][][]byte{{refused}}, nil, unix.EPERM},
		{"cut", [][][]byte{{eth(0, 0, 1)[:30]}}, nil, errCut},
		{"error without a number", [][][]byte{{datagram(unix.NLMSG_ERROR, 0, 0)}}, nil, errCut},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dump(fakeKernel(t, tt.scripts...), unix.RTM_GETLINK, unix.AF_UNSPEC, parseLink)
			var index []int32
			for _, l := range got {
				index = append(index, l.index)
			}
			if !errors.Is(err, tt.err) || err == nil && !slices.Equal(index, tt.want) {
				t.Errorf("got %v, %v; want %v, %v", index, err, tt.want, tt.err)
			}
		})
	}
}
