package lab

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A lanWatch counts what comes by a wire: by WAN's with a source address of the
// LAN, say, which a router with NAT must not send. The kernel counts, so that none is
// missed at any speed.
type lanWatch struct {
	t  *testing.T
	fd int
}

// fromLAN is the filter, for Ethernet frames: the sources are the networks
// 192.168.1.0/24 and 2001:db8:1::/64, at offsets 26 and 22.
var fromLAN = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.ETH_P_IP},
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 26},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xffffff00},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 5, Jf: 6, K: 0xc0a80100},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 5, K: unix.ETH_P_IPV6},
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 22},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: 0x20010db8},
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 26},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: 0x00010000},
	{Code: unix.BPF_RET | unix.BPF_K, K: 64},
	{Code: unix.BPF_RET | unix.BPF_K},
}

// watchLAN begins to count.
func watchLAN(t *testing.T, l *Lab) *lanWatch {
	t.Helper()
	return watchWire(t, l.Censor, "access", fromLAN)
}

// watchWire counts the frames that a filter takes, at a host's end of a wire.
func watchWire(t *testing.T, h *Host, name string, filter []unix.SockFilter) *lanWatch {
	t.Helper()
	w := &lanWatch{t: t}
	err := h.Do(func() error {
		dev, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err := unix.SetsockoptSockFprog(w.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
			return err
		}
		all := uint16(unix.ETH_P_ALL)
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: dev.Index})
	})
	if err != nil {
		t.Fatal("watch the wire:", err)
	}
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// frame returns the beginning of the next one, if there is one.
func (w *lanWatch) frame() []byte {
	b := make([]byte, 256)
	n, _, err := unix.Recvfrom(w.fd, b, unix.MSG_DONTWAIT)
	if err != nil {
		return nil
	}
	return b[:n]
}

// packets tells how many came since it was last asked.
func (w *lanWatch) packets() uint32 {
	w.t.Helper()
	s, err := unix.GetsockoptTpacketStats(w.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Packets // with those dropped for want of room
}
