package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxPacket is more than any packet of a line with an MTU of 1500.
const maxPacket = 4096

// A forwarder carries packets between two TUN devices over a path: one
// goroutine reads each device, and one per direction lets out what is delayed.
type forwarder struct {
	path *path
	ends [2]end // ToServer: where packets to the server enter
	stop chan struct{}
	live sync.WaitGroup
	once sync.Once
}

// end is one TUN device and the record of all that passes it.
type end struct {
	dev  io.ReadWriteCloser
	pcap *pcapWriter
	file io.Closer
}

func (e *end) record(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	e.file = file
	e.pcap, err = newPcap(file)
	return err
}

// newForwarder joins two devices, and takes them over if it succeeds. With a directory it
// records client-side.pcap and server-side.pcap there.
func newForwarder(client, server io.ReadWriteCloser, o Options) (*forwarder, error) {
	f := &forwarder{stop: make(chan struct{})}
	f.ends[ToServer].dev, f.ends[ToClient].dev = client, server
	if o.Pcap != "" {
		for d, name := range []string{"client-side.pcap", "server-side.pcap"} {
			if err := f.ends[d].record(filepath.Join(o.Pcap, name)); err != nil {
				return nil, errors.Join(fmt.Errorf("record packets: %w", err), f.closeFiles())
			}
		}
	}
	f.path = newPath(o.HopsBefore, o.HopsAfter, o.PathMTU, o.Seed, [2]Impairment{o.ToServer, o.ToClient}, f.write)
	for d := range f.path.lines {
		f.path.lines[d].queue.wake = make(chan struct{}, 1)
	}
	return f, nil
}

// write gives a packet to the device where direction d ends.
func (f *forwarder) write(d Direction, pkt []byte) error {
	e := &f.ends[1-d]
	if e.pcap != nil {
		e.pcap.packet(time.Now(), pkt)
	}
	_, err := e.dev.Write(pkt)
	return err
}

// start starts the goroutines. They end with close.
func (f *forwarder) start() {
	f.live.Add(4)
	for d := ToServer; d <= ToClient; d++ {
		go f.read(d)
		go f.release(d)
	}
}

func (f *forwarder) read(d Direction) {
	defer f.live.Done()
	e, buf := &f.ends[d], make([]byte, maxPacket)
	for {
		n, err := e.dev.Read(buf)
		if err != nil {
			return // closed, or the device is gone with its namespace
		}
		now := time.Now()
		e.pcap.packet(now, buf[:n])
		f.path.push(now, d, buf[:n])
	}
}

func (f *forwarder) release(d Direction) {
	defer f.live.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := f.path.release(time.Now(), d)
		if wait < 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-f.path.lines[d].queue.wake:
		case <-f.stop:
			return
		}
	}
}

// close ends the goroutines and closes the devices. It is idempotent.
func (f *forwarder) close() error {
	var err error
	f.once.Do(func() {
		close(f.stop)
		err = errors.Join(f.ends[0].dev.Close(), f.ends[1].dev.Close())
		f.live.Wait()
		err = errors.Join(err, f.closeFiles())
	})
	return err
}

func (f *forwarder) closeFiles() error {
	var err error
	for _, e := range f.ends {
		if e.file != nil {
			err = errors.Join(err, e.file.Close())
		}
	}
	return err
}
