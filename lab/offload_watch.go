package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Masked is a packet as b4 makes it look while it hides it from a flowtable:
// of TCP with FIN, or of UDP with another protocol's number. Its addresses are
// not known where it is no whole packet.
type Masked struct {
	Device   string // empty where it has gone meanwhile
	Leaves   bool   // else it arrives
	Proto    uint8
	Src, Dst netip.Addr
}

// maskedUDP is the number, which is for experiments (RFC 3692).
const maskedUDP = 253

func (m Masked) String() string {
	way := "arrives by"
	if m.Leaves {
		way = "leaves by"
	}
	return fmt.Sprintf("protocol %d, %v to %v, %s %q", m.Proto, m.Src, m.Dst, way, m.Device)
}

// A MaskedWatch watches all devices of a host for such packets.
type MaskedWatch struct {
	host *Host
	fd   int
	stop chan struct{}
	live sync.WaitGroup

	mu    sync.Mutex
	first []Masked // keptMasked at most
	count int
	err   error
}

const keptMasked = 100

// WatchMasked starts watching. A packet is seen as the device gets it, behind all
// rules, and as it comes from the device, ahead of all.
func (h *Host) WatchMasked() (*MaskedWatch, error) {
	w := &MaskedWatch{host: h, fd: -1, stop: make(chan struct{})}
	err := h.Do(func() (err error) {
		// Its protocol is set after the filter: until then nothing comes.
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		prog := unix.SockFprog{Len: uint16(len(maskedFilter)), Filter: &maskedFilter[0]}
		return errors.Join(
			unix.SetsockoptSockFprog(w.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog),
			unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
			unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: everyProtocol}),
		)
	})
	if err != nil {
		if w.fd >= 0 {
			unix.Close(w.fd)
		}
		return nil, fmt.Errorf("watch the devices of %s (needs packet sockets): %w", h.Name, err)
	}
	w.live.Add(1)
	go w.read()
	return w, nil
}

// everyProtocol is ETH_P_ALL in network order.
var everyProtocol = binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})

// maskedFilter passes TCP with FIN and all of maskedUDP, of IPv4 and of IPv6
// without extension headers. A packet begins with its IP header.
var maskedFilter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 0},
	{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 4},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 4, Jt: 1},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 6, Jt: 8, Jf: 14},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // IPv4: the protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: maskedUDP, Jt: 11},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jf: 11},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6}, // no later fragment
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 9},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13}, // the flags
	{Code: unix.BPF_JMP | unix.BPF_JA, K: 4},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6}, // IPv6
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: maskedUDP, Jt: 3},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 53},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 1, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 200}, // bytes: headers of either family with options
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

func (w *MaskedWatch) read() {
	defer w.live.Done()
	buf := make([]byte, 256)
	for {
		n, from, err := unix.Recvfrom(w.fd, buf, 0)
		switch err {
		case nil:
			w.note(buf[:n], from.(*unix.SockaddrLinklayer))
		case unix.EINTR, unix.ENETDOWN: // a device has gone, the others are there
		case unix.EAGAIN:
			select {
			case <-w.stop:
				return
			default:
			}
		default:
			w.mu.Lock()
			w.err = errors.Join(w.err, fmt.Errorf("watch the devices of %s: %w", w.host.Name, err))
			w.mu.Unlock()
			return
		}
	}
}

func (w *MaskedWatch) note(pkt []byte, from *unix.SockaddrLinklayer) {
	m := Masked{Leaves: from.Pkttype == unix.PACKET_OUTGOING}
	switch {
	case len(pkt) >= 20 && pkt[0]>>4 == 4:
		m.Proto, m.Src, m.Dst = pkt[9], netip.AddrFrom4([4]byte(pkt[12:])), netip.AddrFrom4([4]byte(pkt[16:]))
	case len(pkt) >= 40:
		m.Proto, m.Src, m.Dst = pkt[6], netip.AddrFrom16([16]byte(pkt[8:])), netip.AddrFrom16([16]byte(pkt[24:]))
	}
	w.mu.Lock()
	w.count++
	full := len(w.first) == keptMasked
	w.mu.Unlock()
	if full {
		return
	}
	w.host.Do(func() error {
		link, err := netlink.LinkByIndex(from.Ifindex)
		if err == nil {
			m.Device = link.Attrs().Name
		}
		return err
	})
	w.mu.Lock()
	w.first = append(w.first, m)
	w.mu.Unlock()
}

// Close ends the watch, and returns how many such packets there were, and the
// first of them. It is an error if some may have been missed. It is for one call.
func (w *MaskedWatch) Close() (int, []Masked, error) {
	time.Sleep(100 * time.Millisecond) // what is on its way to the socket
	close(w.stop)
	w.live.Wait()
	stats, err := unix.GetsockoptTpacketStats(w.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && stats.Drops > 0 {
		err = fmt.Errorf("the watch of %s missed %d packets", w.host.Name, stats.Drops)
	}
	return w.count, w.first, errors.Join(w.err, err, unix.Close(w.fd))
}
