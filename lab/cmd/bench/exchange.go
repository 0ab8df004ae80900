package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"b4/lab"
)

// An exchange has the shape of TLS 1.3 without its arithmetic, which would hide
// what forwarding costs: a real ClientHello, a flight that answers it, the
// client's request with as many bytes behind it as it says, and as many back as it
// asks for. Then the server closes.
const (
	flightSize  = 1200 // with a small certificate; begins with a checksum of the hello
	requestSize = 140  // Finished and a short request; begins with the numbers of bytes wanted and brought
	answerSize  = 500
)

// patience bounds a whole exchange; what takes longer has failed.
const patience = 30 * time.Second

// hello returns the ClientHello that crypto/tls writes, in its record.
func hello() ([]byte, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	c := tls.Client(theirs, clientConfig())
	go func() { // ends with the pipe
		c.Handshake()
		theirs.Close()
	}()
	return record(ours)
}

func clientConfig() *tls.Config {
	return &tls.Config{
		ServerName:         lab.Allowed,
		InsecureSkipVerify: true, // the certificate names no site
		CurvePreferences:   []tls.CurveID{tls.X25519},
	}
}

// record reads one TLS record.
func record(r io.Reader) ([]byte, error) {
	const header = 5
	b := make([]byte, header, 2048)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	b = append(b, make([]byte, binary.BigEndian.Uint16(b[3:]))...)
	_, err := io.ReadFull(r, b[header:])
	return b, err
}

// answer is the server's side of an exchange.
func answer(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(patience))
	h, err := record(conn)
	if err != nil {
		return err
	}
	flight := make([]byte, flightSize)
	binary.BigEndian.PutUint32(flight, crc32.ChecksumIEEE(h))
	if _, err := conn.Write(flight); err != nil {
		return err
	}
	request := make([]byte, requestSize)
	if _, err := io.ReadFull(conn, request); err != nil {
		return err
	}
	if err := readBlocks(conn, int64(binary.BigEndian.Uint64(request[8:]))); err != nil {
		return err // the client misses the answer
	}
	return writeBody(conn, int64(binary.BigEndian.Uint64(request)))
}

// ask is the client's side, which brings up bytes and wants down. It returns how long
// connecting, the hello and the answer to it took, and fails unless every byte is
// right on both sides.
func ask(server string, hello []byte, down, up int64) (time.Duration, error) {
	start := time.Now()
	conn, err := net.DialTimeout("tcp", server, patience)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(start.Add(patience))
	if _, err := conn.Write(hello); err != nil {
		return 0, err
	}
	var flight [flightSize]byte
	if _, err := io.ReadFull(conn, flight[:]); err != nil {
		return 0, fmt.Errorf("read the answer to the hello: %w", err)
	}
	took := time.Since(start)
	if binary.BigEndian.Uint32(flight[:]) != crc32.ChecksumIEEE(hello) {
		return 0, errors.New("the server got another hello")
	}
	var request [requestSize]byte
	binary.BigEndian.PutUint64(request[:], uint64(down))
	binary.BigEndian.PutUint64(request[8:], uint64(up))
	if _, err := conn.Write(request[:]); err != nil {
		return 0, err
	}
	if up > 0 {
		if err := writeBody(conn, up); err != nil {
			return 0, err
		}
	}
	return took, readBody(conn, down)
}

// A body is made of blocks that begin with their number, so that it can be
// checked at the speed of memory.
const blockSize = 64 << 10

// block returns a block of its own, with number 0.
func block() []byte {
	b := make([]byte, blockSize)
	for i := range b {
		b[i] = byte(i * 7)
	}
	binary.BigEndian.PutUint64(b, 0)
	return b
}

// first is the block with number 0, of which all small bodies are made.
var first = block()

func writeBody(w io.Writer, n int64) error {
	if n <= blockSize {
		_, err := w.Write(first[:n])
		return err
	}
	b := block()
	for number := uint64(0); n > 0; number++ {
		binary.BigEndian.PutUint64(b, number)
		m, err := w.Write(b[:min(n, blockSize)])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	return nil
}

// readBody reads a body and the connection's end behind it.
func readBody(r io.Reader, n int64) error {
	if err := readBlocks(r, n); err != nil {
		return err
	}
	var more [1]byte
	switch _, err := io.ReadFull(r, more[:]); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("there is more than a body of %d bytes", n)
	default:
		return fmt.Errorf("read the end behind the body: %w", err)
	}
}

// readBlocks reads a body of n bytes.
func readBlocks(r io.Reader, n int64) error {
	got, want := make([]byte, min(n, blockSize)), first
	if n > blockSize {
		want = block()
	}
	for number, left := uint64(0), n; left > 0; number++ {
		m, err := io.ReadFull(r, got[:min(left, blockSize)])
		if err != nil {
			return fmt.Errorf("read the body, %d bytes before its end: %w", left-int64(m), err)
		}
		if n > blockSize {
			binary.BigEndian.PutUint64(want, number)
		}
		if !bytes.Equal(got[:m], want[:m]) {
			return fmt.Errorf("the body is wrong %d bytes before its end", left)
		}
		left -= int64(m)
	}
	return nil
}
