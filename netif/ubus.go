package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"b4/unixsock"
)

// sockets are where ubusd listens: since OpenWrt 21.02, and before.
var sockets = []string{"/var/run/ubus/ubus.sock", "/var/run/ubus.sock"}

var errCut = errors.New("message is cut short")

const (
	// ubusLimit bounds the whole conversation. netifd answers in a few
	// milliseconds, on the slowest router too.
	ubusLimit = time.Second
	// ubusMaxMessage is libubus's own limit, UBUS_MAX_MSGLEN.
	ubusMaxMessage = 1 << 20
	// ubusMaxAnswers bounds the messages read for one request: a lookup of one
	// path has two, a call as many.
	ubusMaxAnswers = 16
)

// Message types, attributes and states of ubusmsg.h.
const (
	ubusHello  = 0
	ubusState  = 1
	ubusData   = 2
	ubusLookup = 4
	ubusInvoke = 5

	attrStatus  = 1
	attrObjPath = 2
	attrObjID   = 3
	attrMethod  = 4
	attrData    = 7

	stateNotFound = 4
	stateDenied   = 6
	stateTimeout  = 7
)

// ubusHead is the size of struct ubus_msghdr: version, type, sequence (16 bits)
// and peer (32 bits), big-endian.
const ubusHead = 8

// askNetifd asks netifd over ubus for its interfaces. Where there is no ubus,
// or netifd is not on it, there are none and no error.
func askNetifd(paths []string) (map[string]iface, error) {
	for _, path := range paths {
		conn, err := unixsock.Dial(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(ubusLimit)); err != nil {
			return nil, err
		}
		return dumpInterfaces(conn)
	}
	return nil, nil
}

// dumpInterfaces is the conversation: hello, find the object, call its method.
func dumpInterfaces(rw io.ReadWriter) (map[string]iface, error) {
	hello, err := readUbus(rw)
	if err != nil {
		return nil, err
	}
	if hello.typ != ubusHello {
		return nil, fmt.Errorf("ubus greets with message type %d", hello.typ)
	}
	found, err := call(rw, 1, ubusLookup, 0, appendString(nil, attrObjPath, "network.interface"))
	if errors.Is(err, ubusError(stateNotFound)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find network.interface: %w", err)
	}
	id, ok := pick(found, attrObjID)
	if !ok || len(id) < 4 {
		return nil, fmt.Errorf("find network.interface: %w", errCut)
	}
	body := appendBlob(nil, attrObjID, id[:4])
	body = appendString(body, attrMethod, "dump")
	body = appendBlob(body, attrData, nil)
	answer, err := call(rw, 2, ubusInvoke, binary.BigEndian.Uint32(id), body)
	if err != nil {
		return nil, fmt.Errorf("call network.interface dump: %w", err)
	}
	data, ok := pick(answer, attrData)
	if !ok {
		return nil, fmt.Errorf("call network.interface dump: %w", errCut)
	}
	ifaces, ok := parseDump(data)
	if !ok {
		return nil, fmt.Errorf("call network.interface dump: %w", errCut)
	}
	return ifaces, nil
}

// call sends one request and returns the first data that answers it.
func call(rw io.ReadWriter, seq uint16, typ uint8, peer uint32, body []byte) (data []byte, err error) {
	req := binary.BigEndian.AppendUint16([]byte{0, typ}, seq)
	req = binary.BigEndian.AppendUint32(req, peer)
	if _, err := rw.Write(appendBlob(req, 0, body)); err != nil {
		return nil, err
	}
	for range ubusMaxAnswers {
		m, err := readUbus(rw)
		switch {
		case err != nil:
			return nil, err
		case m.seq != seq:
		case m.typ == ubusData && data == nil:
			data = m.body
		case m.typ == ubusState:
			return data, m.status(data != nil)
		}
	}
	return nil, errors.New("ubus sends no end of answers")
}

// A ubusMessage is one message of ubusd.
type ubusMessage struct {
	typ  uint8
	seq  uint16
	body []byte // attributes
}

// readUbus reads one message, of which no more is allocated than ubus allows.
func readUbus(r io.Reader) (m ubusMessage, err error) {
	var head [ubusHead + blobHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return m, fmt.Errorf("read from ubus: %w", err)
	}
	n := int(binary.BigEndian.Uint32(head[ubusHead:]) & blobLenMask)
	if head[0] != 0 || n < blobHead || n > ubusMaxMessage {
		return m, fmt.Errorf("ubus speaks version %d with a message of %d bytes", head[0], n)
	}
	m = ubusMessage{head[1], binary.BigEndian.Uint16(head[2:]), make([]byte, n-blobHead)}
	if _, err := io.ReadFull(r, m.body); err != nil {
		return m, fmt.Errorf("read from ubus: %w", err)
	}
	return m, nil
}

// A ubusError is one of enum ubus_msg_status, never 0.
type ubusError uint32

func (s ubusError) Error() string {
	switch s {
	case stateNotFound:
		return "not found"
	case stateDenied:
		return "permission denied"
	case stateTimeout:
		return "netifd did not answer in time"
	}
	return fmt.Sprintf("ubus status %d", uint32(s))
}

// status is the error that a status message means. Success needs an answer.
func (m ubusMessage) status(answered bool) error {
	v, ok := pick(m.body, attrStatus)
	if !ok || len(v) < 4 {
		return errCut
	}
	if s := ubusError(binary.BigEndian.Uint32(v)); s != 0 {
		return s
	}
	if !answered {
		return errors.New("no answer: ubus shows this user nothing")
	}
	return nil
}

// pick returns the contents of the first attribute id in b.
func pick(b []byte, id uint8) (data []byte, ok bool) {
	for len(b) > 0 {
		a, rest, whole := cutBlob(b)
		if !whole {
			return nil, false
		}
		if a.id == id {
			return a.data, true
		}
		b = rest
	}
	return nil, false
}

// appendBlob appends an attribute with its padding.
func appendBlob(b []byte, id uint8, data []byte) []byte {
	n := blobHead + len(data)
	b = binary.BigEndian.AppendUint32(b, uint32(id)<<blobIDShift|uint32(n))
	b = append(b, data...)
	return append(b, make([]byte, align4(n)-n)...)
}

func appendString(b []byte, id uint8, s string) []byte {
	return appendBlob(b, id, append([]byte(s), 0))
}
