package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"b4/packet"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Fins watches all devices of a host for packets of TCP with FIN.
type Fins struct {
	host *Host
	fd   int
	stop chan struct{}
	live sync.WaitGroup
	once sync.Once

	mu    sync.Mutex
	all   []Fin
	count int
	err   error
}

// A Fin is one such packet.
type Fin struct {
	Device   string // empty where it has gone meanwhile
	Leaves   bool   // else it arrives
	Src, Dst netip.AddrPort
}

func (f Fin) String() string {
	way := "arrives by"
	if f.Leaves {
		way = "leaves by"
	}
	return fmt.Sprintf("%v to %v %s %q", f.Src, f.Dst, way, f.Device)
}

// keptFins bounds what is remembered; the rest is counted.
const keptFins = 1000

// WatchFins starts watching. A packet is seen as the device gets it, behind all
// rules, and as it comes from the device, ahead of all.
func (h *Host) WatchFins() (*Fins, error) {
	f := &Fins{host: h, fd: -1, stop: make(chan struct{})}
	err := h.Do(func() (err error) {
		// Its protocol is set when the filter is: until then nothing comes.
		if f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		prog := unix.SockFprog{Len: uint16(len(finFilter)), Filter: &finFilter[0]}
		return errors.Join(
			unix.SetsockoptSockFprog(f.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog),
			unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20),
			unix.SetsockoptTimeval(f.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}),
			unix.Bind(f.fd, &unix.SockaddrLinklayer{Protocol: 0x0300}), // ETH_P_ALL, in network order either way
		)
	})
	if err != nil {
		if f.fd >= 0 {
			unix.Close(f.fd)
		}
		return nil, fmt.Errorf("watch the devices of %s (needs packet sockets): %w", h.Name, err)
	}
	f.live.Add(1)
	go f.read()
	return f, nil
}

// finFilter passes TCP with FIN, of IPv4 and of IPv6 without extension headers. A
// packet begins with its IP header.
var finFilter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 0},
	{Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 4},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 4, Jt: 1},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 6, Jt: 7, Jf: 12},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // IPv4: the protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jf: 10},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6}, // no later fragment
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 8},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13}, // the flags
	{Code: unix.BPF_JMP | unix.BPF_JA, K: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6}, // IPv6
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 53},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 1, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 200}, // bytes: headers of either family with options
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

func (f *Fins) read() {
	defer f.live.Done()
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(f.fd, buf, unix.MSG_TRUNC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			select {
			case <-f.stop: // and nothing is left to be read
				return
			default:
				continue
			}
		case err == unix.ENETDOWN: // a device has gone, the others are there
			continue
		case err != nil:
			f.mu.Lock()
			f.err = errors.Join(f.err, fmt.Errorf("watch the devices of %s: %w", f.host.Name, err))
			f.mu.Unlock()
			return
		}
		f.note(buf[:min(n, len(buf))], from)
	}
}

func (f *Fins) note(pkt []byte, from unix.Sockaddr) {
	ll := from.(*unix.SockaddrLinklayer)
	one := Fin{Leaves: ll.Pkttype == unix.PACKET_OUTGOING}
	one.Src, one.Dst = ends(pkt)
	f.mu.Lock()
	known := len(f.all) >= keptFins
	f.mu.Unlock()
	if !known {
		f.host.Do(func() error {
			link, err := netlink.LinkByIndex(ll.Ifindex)
			if err == nil {
				one.Device = link.Attrs().Name
			}
			return err
		})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if !known {
		f.all = append(f.all, one)
	}
}

// ends are the addresses of a packet, of which only the beginning need be there.
func ends(pkt []byte) (src, dst netip.AddrPort) {
	var v packet.View
	if v.DecodeStart(pkt) {
		return v.Src, v.Dst
	}
	return src, dst
}

// Seen returns how many there were, and the first thousand of them. It is an error
// if some may have been missed.
func (f *Fins) Seen() (int, []Fin, error) {
	time.Sleep(10 * time.Millisecond) // what is in the socket is on its way here
	stats, err := unix.GetsockoptTpacketStats(f.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = errors.Join(f.err, err)
	if err == nil && stats.Drops > 0 {
		f.err = errors.Join(f.err, fmt.Errorf("the watch of %s missed %d packets with FIN", f.host.Name, stats.Drops))
	}
	return f.count, f.all[:len(f.all):len(f.all)], f.err
}

// Close ends the watch. It is idempotent.
func (f *Fins) Close() (err error) {
	f.once.Do(func() {
		close(f.stop)
		f.live.Wait()
		err = unix.Close(f.fd)
	})
	return err
}
