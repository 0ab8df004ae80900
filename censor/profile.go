package censor

import (
	"net/netip"
	"time"
)

// A Profile is what one censor sees, understands and does. The zero value of
// every knob is its simplest setting, named in its comment.
type Profile struct {
	Name string
	Hops int // routers between the client and it, for who lays out a path; zero is 2

	// Where it looks.
	Ports     []uint16       // the ports hellos go to; none is all ports
	Networks  []netip.Prefix // the servers it sees; none is all
	Inbound   bool           // reads hellos from outside too, not only those from the client's side
	InsideSYN bool           // knows only connections whose first packet is a SYN from the client's side
	Flags     uint8          // TCP flags a packet must carry to be read; zero is any
	PlainTCP  bool           // reads only packets without TCP options

	// How long it looks.
	MaxPackets int           // packets with payload it reads of each direction; zero is all
	Garbage    int           // a packet of so many payload bytes that is no hello ends the reading; zero is never
	MaxHello   int           // bytes of the longest hello it reads; zero is one TLS record, 16 KiB
	Timeout    time.Duration // an idle connection is forgotten after this; zero is five minutes

	// What it understands.
	TCP         Reassembly
	JoinRecords bool // a hello over several TLS records is one hello
	WholeHello  bool // reads no name before it has the whole hello
	SYNData     bool // data on a SYN (RFC 7413) is the stream's beginning; without it it is not read
	Defrag      bool // joins IP fragments; without it they pass unread
	NoTLS       bool // reads no hellos over TCP
	HTTP        Reading
	QUIC        QUIC

	// What it ignores, as the server would.
	Checksum bool // segments with a wrong checksum
	MD5      bool // segments with the TCP MD5 option (RFC 2385)
	AckRange bool // segments whose acknowledgement is not of what the peer has sent

	// What it acts on besides a listed name.
	ECH       []string // names beside which Encrypted Client Hello (RFC 9849) is not allowed
	Nameless  bool     // a whole record of a hello without a name
	Fragment  int      // a hello that begins in a packet of fewer payload bytes and does not end there, or in its first record; zero allows it
	Protocols Protocols

	// What it does.
	AllowList bool // the listed names are those let through, and every other connection is acted on
	UDP       bool // AllowList is for UDP too, where no names are read
	Police    Police
	Action    Action
	Residual  Residual
}

// A Mode is how much of TCP a censor follows.
type Mode uint8

const (
	None    Mode = iota // each packet is read by itself
	InOrder             // payloads are joined as they follow on each other; a segment that comes early is not kept
	Full                // a segment that comes early waits for what is missing
)

// Reassembly tells how payloads become a stream.
type Reassembly struct {
	Mode     Mode
	Packets  int  // joins at most so many packets; zero is no limit
	Bytes    int  // InOrder: joins at most so many bytes; zero is no limit
	SkipGaps bool // InOrder: joins across a gap as if nothing were missing
	LastWins bool // Full: of bytes that wait, the newest copy counts, not the first
	Gap      int  // Full: keeps what lies at most so many bytes ahead; zero is MaxHello
}

// A Reading is how well a censor reads the Host of a plain request (RFC 9112).
type Reading uint8

const (
	Unread Reading = iota
	Strict         // as browsers write it, in a request that begins with a method
	Loose          // in any case, with any spaces, with and without CR, and in an absolute target
)

// QUIC is what a censor does with UDP. The zero value passes it.
type QUIC struct {
	Reads      bool     // decrypts Initial packets of version 1 (RFC 9001) for the name
	All        bool     // acts on version 1 without a look at the name
	Ports      []uint16 // where they go to; none is all ports
	Bytes      int      // looks at datagrams of at least so many bytes of payload
	First      bool     // looks only at the first datagram of a connection, whoever sent it
	SourceHigh bool     // looks only at datagrams from a port above the one they go to
	Frames     Mode     // how CRYPTO frames are joined; with None only the first of a datagram is read
	Datagrams  int      // over so many datagrams to one connection id they are joined; zero is one
}

// Protocols tells which packets must look like TLS, HTTP or DNS, whatever they
// name; TLS is told by five bytes.
type Protocols struct {
	Packets int  // the first so many with payload; zero is none
	Any     bool // one of them is enough
}

// Police tells how many hellos are too many: more than Hellos with one listed
// name to one server Within that time. With Hellos zero each is.
type Police struct {
	Hellos int
	Within time.Duration
}

// Sides are directions of travel, seen from who sends the hello.
type Sides uint8

const (
	ToServer Sides = 1 << iota
	ToClient
	Both = ToServer | ToClient
)

// An Action is what befalls a connection: any of its parts together.
type Action struct {
	Drop      Sides // packets going this way are dropped …
	After     Span  // … once so many more of them have passed, and …
	DropHello bool  // … the packet that gave the name away with them
	Rewrite   bool  // packets to the client become RST/ACK without payload

	Rate  int // bytes a second each way, whole packets counted; the rest is dropped. Zero is no limit
	Burst int // bytes that may pass at once under Rate

	RST, RSTACK int              // forged resets of each kind for every packet acted on
	To          Sides            // where they go
	Delay       [2]time.Duration // how long they, and Drop, take to begin, at least and at most
	TTL         uint8            // their TTL; zero is 64
	ID          uint16           // their IPv4 identification
	Bytes       string           // what they carry
	Page        string           // forged answer to a plain request, in place of resets

	PerMille int // it acts on so many hellos of a thousand; zero is on all
}

// A Span is a number drawn evenly from Min to Max, both included.
type Span struct{ Min, Max int }

// Residual tells how long, and whom, the action goes on to hit. With For zero
// it hits only the packet that gave the name away.
type Residual struct {
	For     time.Duration
	Most    time.Duration // it is drawn from For to Most; zero is For
	AnyPort bool          // the client's port does not matter: the 3-tuple, not the 4-tuple
	Host    bool          // with AnyPort: nor does the server's
	Renew   bool          // each packet that is hit starts the time again
}

// Defaults of knobs left at zero.
const (
	defaultMaxHello = 1 << 14         // the longest TLS record (RFC 8446 section 5.1)
	defaultTimeout  = 5 * time.Minute // longer than any handshake, shorter than most residuals
	defaultHops     = 2               // one in the house, one of the provider's
)

// withDefaults returns p with the knobs set that have a default.
func (p Profile) withDefaults() Profile {
	if p.MaxHello == 0 {
		p.MaxHello = defaultMaxHello
	}
	if p.Timeout == 0 {
		p.Timeout = defaultTimeout
	}
	if p.Hops == 0 {
		p.Hops = defaultHops
	}
	if p.TCP.Gap == 0 {
		p.TCP.Gap = p.MaxHello
	}
	return p
}
