package lab

import (
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// A pcapWriter records raw IP packets in the classic pcap format, version 2.4
// with microseconds (draft-ietf-opsawg-pcap, section 4). It is safe for use by
// several goroutines; the first failed write ends the recording.
type pcapWriter struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	err error
}

const (
	pcapMagic   = 0xa1b2c3d4
	linkTypeRaw = 101 // LINKTYPE_RAW: the packet begins with its IP header
)

// newPcap writes the file header to w.
func newPcap(w io.Writer) (*pcapWriter, error) {
	h := binary.LittleEndian.AppendUint32(nil, pcapMagic)
	h = binary.LittleEndian.AppendUint16(h, 2)
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = binary.LittleEndian.AppendUint64(h, 0) // time zone and accuracy, always zero
	h = binary.LittleEndian.AppendUint32(h, 1<<18)
	h = binary.LittleEndian.AppendUint32(h, linkTypeRaw)
	_, err := w.Write(h)
	return &pcapWriter{w: w}, err
}

// packet adds one packet. A nil writer records nothing.
func (p *pcapWriter) packet(now time.Time, b []byte) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	h := binary.LittleEndian.AppendUint32(p.buf[:0], uint32(now.Unix()))
	h = binary.LittleEndian.AppendUint32(h, uint32(now.Nanosecond()/1000))
	h = binary.LittleEndian.AppendUint32(h, uint32(len(b)))
	h = binary.LittleEndian.AppendUint32(h, uint32(len(b)))
	p.buf = append(h, b...)
	_, p.err = p.w.Write(p.buf)
}
