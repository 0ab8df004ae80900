package engine

import (
	"errors"
	"time"
)

// A Verdict says what becomes of the packet that was read. One of Accept, Drop
// and Replace, with or without Done.
type Verdict uint8

const (
	Accept  Verdict = iota // the packet goes on as it is
	Drop                   // the packet is discarded: it was kept as a copy, or stands in the batch
	Replace                // the batch's last packet takes its place, the others leave before it

	// Done asks that the kernel show no more packets of this connection.
	Done Verdict = 0x80
)

// Act is v without Done.
func (v Verdict) Act() Verdict { return v &^ Done }

// A Direction tells which end of the connection sent a packet.
type Direction uint8

const (
	Original Direction = iota // from the side that opened the connection
	Reply
)

// Meta is the routing context a packet has in the kernel. What is sent in a
// packet's place carries it too, so that it leaves the way the packet would have.
type Meta struct {
	Mark uint32 // fwmark
	Out  int32  // index of the device it leaves by; 0 is unknown
	Back bool   // an answer to the packet's sender, which conntrack knows the way to: not a packet of the connection
}

// A Packet is one IP packet on loan from a Source.
// Bytes is valid until the next Read or Close on that Source.
type Packet struct {
	Bytes []byte
	ID    uint32 // the kernel's number for it; zero where there is none
	Queue uint16 // the kernel's queue that it waits in and ID counts; zero where there is none
	Meta
	In      int32 // index of the device it came in by; 0 is unknown
	Dir     Direction
	Full    int  // bytes on the wire; more than len(Bytes) where the copy was cut
	Partial bool // the transport checksum is not filled in (checksum offload)
	Super   bool // a superpacket: many segments under one header, which no Sender can carry
}

// A Source yields packets to one reader.
type Source interface {
	// Read waits for packets, at most for the given time, and returns those
	// that are there: none after that time. Close makes a blocked Read
	// return os.ErrClosed.
	Read(wait time.Duration) ([]Packet, error)
	Close() error
}

// A Sender puts packets of our own on the wire.
type Sender interface {
	// Send sends outs in order and returns how many have left. Where that
	// is not all of them err is why the next one has not: those behind it
	// have not been tried. It must not keep outs or their bytes.
	Send(outs []Out) (sent int, err error)
}

// A Sink carries out verdicts and sends planned packets.
type Sink interface {
	Sender
	// Settle gives the verdict on p. payload takes p's place if v is Replace
	// and is nil otherwise. A sink may gather verdicts until Flush, which is
	// ahead of the next Read; so long p and payload are valid.
	Settle(p *Packet, v Verdict, payload []byte) error
	// Flush carries out what Settle has gathered.
	Flush() error
}

// A Handler judges packets. It keeps neither p nor its bytes.
type Handler interface {
	// Handle judges p and adds to out what is to be sent.
	Handle(now time.Time, p *Packet, out *Batch) Verdict
	// Tick runs after every Read, adds what has fallen due to out, and tells
	// how long the next Read may wait.
	Tick(now time.Time, out *Batch) time.Duration
	// Drain is the last call, when the engine is closed: whatever the handler
	// still keeps goes to out.
	Drain(out *Batch)
}

// An Engine takes packets from the kernel and puts them back.
type Engine interface {
	Name() string
	// Supported reports whether this kernel has what the engine needs. The
	// error wraps ErrNotSupported and names the package to install.
	Supported() error
	// Start opens the engine; from its return on no packet is lost to a
	// missing reader. A second Start is ErrStarted.
	Start() error
	// Run serves h until Close. It needs Start.
	Run(h Handler) error
	// Close ends Run and gives everything back. It is idempotent.
	Close() error
	Capabilities() Capabilities
	Counters() Counters
}

var (
	// ErrStarted is the error of a second Start.
	ErrStarted = errors.New("engine is already started")
	// ErrNotSupported is wrapped where the kernel lacks a feature.
	ErrNotSupported = errors.New("not supported by this kernel")
)

// Capabilities tell what a started engine can do here.
type Capabilities struct {
	FailOpen bool `json:"fail_open"` // a full queue lets packets pass
	GSO      bool `json:"gso"`       // superpackets arrive whole
	Buffer   int  `json:"buffer"`    // receive buffer in bytes
}

// Counters count since Start. They may be read at any time.
type Counters struct {
	Read       uint64 `json:"read"`        // packets that came to user space
	Accepted   uint64 `json:"accepted"`    // let go untouched
	Dropped    uint64 `json:"dropped"`     // held as copies, or replaced by raw packets only
	Replaced   uint64 `json:"replaced"`    // left with other contents
	Sent       uint64 `json:"sent"`        // packets of our own
	SendFailed uint64 `json:"send_failed"` // each let its packet go untouched
	Lost       uint64 `json:"lost"`        // the kernel had no room to show them to us
}
