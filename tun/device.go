package tun

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"b4/wait"

	"golang.org/x/sys/unix"
)

// A Device is a TUN device of this process. It vanishes, and with it every
// route through it, when the process ends, however it does.
//
// One goroutine may read. Write, SetMTU and Close are for any.
type Device struct {
	fd       int
	ctl      int // a socket in the device's namespace, whichever thread calls
	name     string
	index    int32
	offloads Offloads

	// gate is held for reading by whoever uses the descriptors, and for
	// writing by Close, so that none is used that has a new owner.
	gate   sync.RWMutex
	closed atomic.Bool
	await  *wait.Waiter

	asking sync.Mutex // guards what follows, of Dropped
	stats  int        // a netlink socket in the device's namespace
	full   uint64     // what it last told

	// The read under way, and what attempt has found.
	attempt func(fd uintptr) bool
	head    [HeaderLen]byte
	iov     [2]unix.Iovec
	n       int
	errno   unix.Errno
}

// Read takes one packet: its bytes to p and what is undone about them to h. It
// waits for one at most for d, and not at all where d is zero; n is then 0, and
// so it may be before d is over. A packet longer than p is cut. After Close the
// error is os.ErrClosed. Read allocates nothing.
func (d *Device) Read(wait time.Duration, h *Header, p []byte) (n int, err error) {
	d.gate.RLock()
	defer d.gate.RUnlock()
	if d.closed.Load() {
		return 0, os.ErrClosed
	}
	d.iov[0].Base, d.iov[1].Base = &d.head[0], &p[0]
	d.iov[0].SetLen(HeaderLen)
	d.iov[1].SetLen(len(p))
	if wait == 0 {
		d.try()
	} else if err := d.await.Wait(wait, d.attempt); err != nil {
		if d.closed.Load() {
			return 0, os.ErrClosed
		}
		return 0, fmt.Errorf("wait for packets: %w", err)
	}
	switch {
	case d.errno == unix.EAGAIN:
		return 0, nil
	case d.errno != 0:
		return 0, d.explain("read from", d.errno)
	}
	h.decode(d.head[:])
	return d.n, nil
}

// try reads one packet, its header split off. Like writev it does not wait, and so
// does not tell Go's scheduler, which would give the processor to another thread where
// the packet's way through the kernel takes more than 20 µs.
func (d *Device) try() {
	n, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(d.fd), uintptr(unsafe.Pointer(&d.iov[0])), uintptr(len(d.iov)))
	if errno == unix.EINTR {
		errno = unix.EAGAIN
	}
	if errno == 0 && n < HeaderLen {
		errno = unix.EIO
	}
	d.n, d.errno = int(n)-HeaderLen, errno
}

// Write gives the kernel one packet, or one superpacket as h says, as if it had
// come in by the device. A Header that was read with the packet is good; only
// its HdrLen is not passed on, as it is wrong for forwarded packets and the
// kernel refuses one longer than the packet. Write allocates nothing.
func (d *Device) Write(h Header, p []byte) error {
	if len(p) == 0 {
		return errNotIP
	}
	h.HdrLen = 0
	if h.Super() {
		n, ok := length(p)
		if !ok {
			return errNotIP
		}
		l, ok := transport(p[:n])
		if !ok {
			return errTransport
		}
		h.HdrLen = uint16(l.hdr) // how much the kernel is to have in one piece
	}
	var head [HeaderLen]byte
	h.encode(head[:])
	return d.writev([]unix.Iovec{part(head[:]), part(p)})
}

// WriteParts is Write of a superpacket in parts: its headers, whose length is
// h.HdrLen, and at most 64 of its payload. None is empty. It allocates nothing.
func (d *Device) WriteParts(h Header, headers []byte, payload [][]byte) error {
	var head [HeaderLen]byte
	h.encode(head[:])
	var iov [2 + burst]unix.Iovec
	iov[0], iov[1] = part(head[:]), part(headers)
	for i, b := range payload {
		iov[2+i] = part(b)
	}
	return d.writev(iov[:2+len(payload)])
}

func (d *Device) writev(iov []unix.Iovec) error {
	d.gate.RLock()
	defer d.gate.RUnlock()
	if d.closed.Load() {
		return os.ErrClosed
	}
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(d.fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	if errno != 0 {
		return d.explain("write to", errno)
	}
	return nil
}

func part(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

// explain says in words what the kernel means by an error of a device that was
// up when it was opened.
func (d *Device) explain(act string, errno unix.Errno) error {
	switch errno {
	case unix.EBADFD:
		return fmt.Errorf("%s %s: another program has deleted the device: %w", act, d.name, errno)
	case unix.EIO:
		return fmt.Errorf("%s %s: the device is down: %w", act, d.name, errno)
	}
	return fmt.Errorf("%s %s: %w", act, d.name, errno)
}

// Name is the device's name.
func (d *Device) Name() string { return d.name }

// Index is the device's number.
func (d *Device) Index() int32 { return d.index }

// Offloads are those the kernel has granted.
func (d *Device) Offloads() Offloads { return d.offloads }

// SetMTU changes the device's MTU, in bytes: 68 to 65535, and at least 1280 for
// IPv6 to stay.
func (d *Device) SetMTU(n int) error {
	d.gate.RLock()
	defer d.gate.RUnlock()
	if d.closed.Load() {
		return os.ErrClosed
	}
	return d.setMTU(n)
}

// Close removes the device. A Read under way returns os.ErrClosed before Close
// does. It is idempotent.
func (d *Device) Close() error {
	d.Dropped() // while it can be known
	if d.closed.Swap(true) {
		return nil
	}
	err := d.await.Wake()
	d.gate.Lock() // until nobody uses the descriptors
	defer d.gate.Unlock()
	return errors.Join(err, d.await.Close(), unix.Close(d.stats), unix.Close(d.ctl), unix.Close(d.fd))
}
