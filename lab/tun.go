package lab

import (
	"io"
	"time"

	"b4/tun"
)

// A tunFile is a TUN device as a file: one Read is one IP packet, and one Write
// too, each as it is on the wire. The device vanishes with it.
type tunFile struct{ *tun.Device }

// openTUN makes a TUN device of the given name in the calling thread's
// namespace. It has no offloads: what the path's hops and the censor see is what
// the wire would carry.
func openTUN(name string) (io.ReadWriteCloser, error) {
	d, err := tun.Open(tun.DeviceConfig{Name: name, Queue: tunQueue, Plain: true})
	if err != nil {
		return nil, err
	}
	return tunFile{d}, nil
}

func (f tunFile) Read(p []byte) (int, error) {
	for {
		var h tun.Header // zero, as there are no offloads
		if n, err := f.Device.Read(time.Hour, &h, p); n > 0 || err != nil {
			return n, err
		}
	}
}

func (f tunFile) Write(p []byte) (int, error) {
	if err := f.Device.Write(tun.Header{}, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
