package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"b4/engine"
	"b4/wait"

	"golang.org/x/sys/unix"
)

const clonePath = "/dev/net/tun"

// A DeviceConfig says what device to make. Zero values leave the kernel's.
type DeviceConfig struct {
	Name  string         // at most 15 bytes; with %d in it the kernel fills in a number
	MTU   int            // bytes
	Queue int            // packets that wait for the reader at most; the kernel's 500 is for a reader that keeps up
	Addrs []netip.Prefix // addresses of the device; a steered packet needs none

	// Plain asks for no offloads: the kernel cuts superpackets and fills in
	// checksums itself, and every Header is zero.
	Plain bool
}

// An opener makes a Device, act by act. Everything an act adds is undone by
// closing the three descriptors.
type opener struct {
	c DeviceConfig
	d *Device
	// try does one act of the list; tests make it fail.
	try func(act string, do func() error) error
}

// Open makes a device, addressed and up. After an error nothing of it is left.
// The error wraps engine.ErrNotSupported where the kernel has no TUN, and names
// what to install.
func Open(c DeviceConfig) (*Device, error) {
	return open(c, func(_ string, do func() error) error { return do() })
}

func open(c DeviceConfig, try func(string, func() error) error) (*Device, error) {
	o := opener{c: c, d: &Device{fd: -1, ctl: -1, stats: -1}, try: try}
	if err := o.run(); err != nil {
		for _, fd := range []int{o.d.stats, o.d.ctl, o.d.fd} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
		return nil, err
	}
	return o.d, nil
}

func (o *opener) run() error {
	for _, a := range []struct {
		name string
		do   func() error
	}{
		{"open", o.openFile},
		{"create", o.create},
		{"nonblock", func() error { return unix.SetNonblock(o.d.fd, true) }}, // before anything waits: a blocked read survives a close
		{"header", o.header},
		{"offloads", o.offload},
		{"control", o.control},
		{"statistics", o.statistics},
		{"index", o.findIndex},
		{"mtu", o.mtu},
		{"queue", o.queue},
		{"addresses", o.addresses},
		{"up", o.up},
		{"waiter", o.waiter}, // last, as closing the descriptors does not undo it
	} {
		if err := o.try(a.name, a.do); err != nil {
			return fmt.Errorf("make TUN %s: %w", o.c.Name, err)
		}
	}
	return nil
}

func (o *opener) openFile() (err error) {
	o.d.fd, err = openClone()
	return err
}

// openClone opens the file that makes devices.
func openClone() (int, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	return fd, explainOpen(err)
}

func explainOpen(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("TUN is %w: install kmod-tun (open %s: %w)", engine.ErrNotSupported, clonePath, err)
	case err != nil:
		return fmt.Errorf("open %s: %w", clonePath, err)
	}
	return nil
}

// Flags of TUNSETIFF. With IFF_TUN_EXCL a device that another program has left
// behind is not taken over: it would not vanish with us.
const (
	deviceFlags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	exclusive   = unix.IFF_TUN_EXCL
)

func (o *opener) create() error {
	ifr, err := unix.NewIfreq(o.c.Name)
	if err != nil {
		return fmt.Errorf("device name %q: %w", o.c.Name, err)
	}
	ifr.SetUint16(deviceFlags | exclusive)
	if err := unix.IoctlIfreq(o.d.fd, unix.TUNSETIFF, ifr); err != nil {
		return explainCreate(o.c.Name, err)
	}
	o.d.name = ifr.Name()
	return nil
}

func explainCreate(name string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("another program holds a device of that name (choose another device): %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("CAP_NET_ADMIN is missing (run as root): %w", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("device name %q is no good, or not a TUN's: %w", name, err)
	}
	return err
}

// header makes sure of the length of what stands before each packet.
func (o *opener) header() error {
	n, err := unix.IoctlGetInt(o.d.fd, unix.TUNGETVNETHDRSZ)
	if err == nil && n != HeaderLen {
		err = unix.IoctlSetPointerInt(o.d.fd, unix.TUNSETVNETHDRSZ, HeaderLen)
	}
	if err != nil {
		return fmt.Errorf("set header length: %w", err)
	}
	return nil
}

func (o *opener) offload() (err error) {
	if o.c.Plain {
		return nil
	}
	o.d.offloads, err = probe(func(l Offloads) error {
		return unix.IoctlSetInt(o.d.fd, unix.TUNSETOFFLOAD, int(l))
	})
	if err != nil {
		return fmt.Errorf("set offloads: %w", err)
	}
	return nil
}

func (o *opener) control() (err error) {
	o.d.ctl, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	return nil
}

// ioctl asks the kernel about the device, or tells it.
func (d *Device) ioctl(request uint, set func(*unix.Ifreq)) (*unix.Ifreq, error) {
	ifr, err := unix.NewIfreq(d.name)
	if err != nil {
		return nil, err
	}
	set(ifr)
	return ifr, unix.IoctlIfreq(d.ctl, request, ifr)
}

func (o *opener) findIndex() error {
	ifr, err := o.d.ioctl(unix.SIOCGIFINDEX, func(*unix.Ifreq) {})
	if err != nil {
		return fmt.Errorf("find index: %w", err)
	}
	o.d.index = int32(ifr.Uint32())
	return nil
}

func (o *opener) mtu() error {
	if o.c.MTU == 0 {
		return nil
	}
	return o.d.setMTU(o.c.MTU)
}

func (d *Device) setMTU(n int) error {
	if _, err := d.ioctl(unix.SIOCSIFMTU, func(r *unix.Ifreq) { r.SetUint32(uint32(n)) }); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", d.name, n, err)
	}
	return nil
}

func (o *opener) queue() error {
	if o.c.Queue == 0 {
		return nil
	}
	if _, err := o.d.ioctl(unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) { r.SetUint32(uint32(o.c.Queue)) }); err != nil {
		return fmt.Errorf("set queue length to %d: %w", o.c.Queue, err)
	}
	return nil
}

func (o *opener) addresses() error {
	for _, p := range o.c.Addrs {
		if err := o.d.address(p); err != nil {
			return fmt.Errorf("add address %v: %w", p, err)
		}
	}
	return nil
}

func (o *opener) up() error {
	ifr, err := o.d.ioctl(unix.SIOCGIFFLAGS, func(*unix.Ifreq) {})
	if err == nil {
		flags := ifr.Uint16() | unix.IFF_UP
		_, err = o.d.ioctl(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(flags) })
	}
	if err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	return nil
}

func (o *opener) waiter() (err error) {
	d := o.d
	d.attempt = func(uintptr) bool {
		d.try()
		return d.errno != unix.EAGAIN || d.await.Rung()
	}
	d.await, err = wait.New(d.fd)
	return err
}

// address adds p to the device. An IPv4 device has one by this way, its last.
func (d *Device) address(p netip.Prefix) error {
	if p.Addr().Is6() {
		return d.address6(p)
	}
	addr, mask := p.Addr().AsSlice(), make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-p.Bits()))
	for _, s := range []struct {
		request uint
		value   []byte
	}{{unix.SIOCSIFADDR, addr}, {unix.SIOCSIFNETMASK, mask}} {
		var refused error
		_, err := d.ioctl(s.request, func(r *unix.Ifreq) { refused = r.SetInet4Addr(s.value) })
		if err := errors.Join(refused, err); err != nil {
			return err
		}
	}
	return nil
}

// address6 adds an IPv6 address. It is usable as soon as a worker of the kernel's
// has come by, within milliseconds: a device without neighbours asks nobody for
// duplicates.
func (d *Device) address6(p netip.Prefix) error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req := struct { // struct in6_ifreq, linux/ipv6.h
		addr  [16]byte
		bits  uint32
		index int32
	}{p.Addr().As16(), uint32(p.Bits()), d.index}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}

// supported reports whether the kernel has TUN devices with a header.
func supported() error {
	fd, err := openClone()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	features, err := unix.IoctlGetUint32(fd, unix.TUNGETFEATURES)
	if err != nil {
		return fmt.Errorf("ask for TUN features: %w", err)
	}
	if features&deviceFlags != deviceFlags {
		return fmt.Errorf("TUN with packet headers is %w: features %#x, want %#x", engine.ErrNotSupported, features, deviceFlags)
	}
	return nil
}
