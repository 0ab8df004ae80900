package nstest

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TUN makes a TUN device, down, and returns its other end: what is read there has
// left by it, and what is written comes in. It takes deadlines, and is closed with
// the test, or before by the test: that removes the device.
func TUN(t testing.TB, name string) *os.File {
	t.Helper()
	return device(t, name, unix.IFF_TUN)
}

// TAP is TUN for a device with Ethernet headers.
func TAP(t testing.TB, name string) *os.File {
	t.Helper()
	return device(t, name, unix.IFF_TAP)
}

func device(t testing.TB, name string, kind uint16) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no TUN: %v", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(kind | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		unix.Close(fd)
		t.Fatalf("make %s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name) // not earlier: Go's poller takes a file without a device for broken
	t.Cleanup(func() { f.Close() })
	return f
}

// Device changes or asks about a device, by an ioctl of netdevice(7). To ask, set
// is nil.
func Device(t testing.TB, name string, request uint, set func(*unix.Ifreq)) *unix.Ifreq {
	t.Helper()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	if set != nil {
		set(ifr)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, request, ifr); err != nil {
		t.Fatalf("device %s, request %#x: %v", name, request, err)
	}
	return ifr
}

// Index is the kernel's number for a device.
func Index(t testing.TB, name string) int32 {
	t.Helper()
	return int32(Device(t, name, unix.SIOCGIFINDEX, nil).Uint32())
}

// SetMTU sets the length of the longest packet of a device.
func SetMTU(t testing.TB, name string, n int) {
	t.Helper()
	Device(t, name, unix.SIOCSIFMTU, func(r *unix.Ifreq) { r.SetUint32(uint32(n)) })
}

// Up brings a device up.
func Up(t testing.TB, name string) {
	t.Helper()
	setFlags(t, name, unix.IFF_UP)
}

// Down takes a device down.
func Down(t testing.TB, name string) {
	t.Helper()
	setFlags(t, name, 0)
}

// setFlags sets IFF_UP and no other flag: the ioctl for it would take NOARP from a
// TUN, whose IPv6 addresses the kernel then asks for on the link first.
func setFlags(t testing.TB, name string, up uint32) {
	t.Helper()
	tell(t, unix.RTM_NEWLINK, 0, u32(0, uint32(Index(t, name)), up, unix.IFF_UP)) // struct ifinfomsg
}

// Addr gives a device one more address, with its network. It is not asked for on
// the link first.
func Addr(t testing.TB, name string, p netip.Prefix) {
	t.Helper()
	b := []byte{family(p), byte(p.Bits()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE} // struct ifaddrmsg
	b = append(b, u32(uint32(Index(t, name)))...)
	b = attr(attr(b, unix.IFA_LOCAL, p.Addr().AsSlice()), unix.IFA_ADDRESS, p.Addr().AsSlice())
	tell(t, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, b)
}

// Route leads a network out by a device, in a table. A metric of 0 is the kernel's
// own choice.
func Route(t testing.TB, name string, to netip.Prefix, table, metric uint32) {
	t.Helper()
	b := []byte{family(to), byte(to.Bits()), 0, 0, 0, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0} // struct rtmsg
	b = attr(b, unix.RTA_DST, to.Masked().Addr().AsSlice())
	b = attr(b, unix.RTA_OIF, u32(uint32(Index(t, name))))
	b = attr(attr(b, unix.RTA_TABLE, u32(table)), unix.RTA_PRIORITY, u32(metric))
	tell(t, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, b)
}

func family(p netip.Prefix) byte {
	if p.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// tell sends a message of rtnetlink(7), and asks that the kernel does as it says.
func tell(t testing.TB, typ, flags uint16, body []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := binary.NativeEndian.AppendUint16(u32(uint32(unix.NLMSG_HDRLEN+len(body))), typ)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = append(append(b, make([]byte, 8)...), body...)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	if n, err := unix.Read(fd, answer); err != nil || n < unix.NLMSG_HDRLEN+4 {
		t.Fatalf("message %d: answer of %d bytes, %v", typ, n, err)
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); errno != 0 {
		t.Fatalf("message %d, %x: %v", typ, body, unix.Errno(errno))
	}
}

// attr appends an attribute, whose value has a multiple of four bytes.
func attr(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	return append(binary.NativeEndian.AppendUint16(b, typ), value...)
}

func u32(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}
