package pipeline

import "b4/desync"

// A Reason is why a packet got its verdict. Every packet that comes has one.
type Reason uint8

const (
	Other     Reason = iota // neither TCP nor UDP, a SYN, or not a packet b4 reads
	Cut                     // only its beginning was shown to us
	Reply                   // from the server: looked at, never changed
	Empty                   // no data
	NotTLS                  // data that begins no message: neither a ClientHello nor a request
	Held                    // part of a message, kept until the rest comes, or sent again while it is
	TooLong                 // a message beyond the bounds: let go as it came
	Late                    // was held, and the rest of the message did not come in time
	NoName                  // a message without a host name, to a server in no rule's networks
	NoRule                  // no rule for the name
	Passed                  // the rule says pass
	Dropped                 // the rule says drop
	Treated                 // the strategy was applied
	Again                   // the client sent it again, and the strategy was applied again
	AsIs                    // the strategy leaves this message as it is
	Failed                  // the strategy could not be applied to this message
	Early                   // data that neither belongs to a message known to us nor ends our part
	Finished                // the first data after the answer: our part is over
	Evicted                 // was held, and newer connections needed the room
	UnderWay                // data of a connection under way, which an engine shows that shows all traffic
	NotQUIC                 // a datagram that has no long header of a QUIC version known here
	QUICOther               // QUIC, and nothing a client's hello comes in: early data, Retry, negotiation
	QUICPart                // part of a hello over QUIC, let go as the name was not there yet
	QUICOdd                 // an Initial that does not open, carries what it may not, or is beyond the bounds
	Rejected                // the rule says reject
	Handshake               // the SYN or its answer was changed
	reasons
)

// names are the keys of the counters in `b4d status -json`.
var names = [reasons]string{
	"other", "cut", "reply", "empty", "not_tls", "held", "too_long", "late", "no_name", "no_rule", "passed",
	"dropped", "treated", "again", "as_is", "failed", "early", "finished", "evicted", "under_way",
	"not_quic", "quic_other", "quic_part", "quic_odd", "rejected",
	"handshake",
}

func (r Reason) String() string { return names[r] }

// Counts returns how many packets each reason was given, by its name. A held
// packet that is let go as it came counts once more, under the reason for that.
func (p *Pipeline) Counts() map[string]uint64 {
	m := make(map[string]uint64, reasons)
	for r := range reasons {
		m[r.String()] = p.counts[r].Load()
	}
	return m
}

// Hellos is how many whole ClientHellos were seen, each counted once.
func (p *Pipeline) Hellos() uint64 { return p.messages[desync.TLS].Load() }

// Messages is how many whole messages of a kind were seen, each counted once.
func (p *Pipeline) Messages(kind desync.Proto) uint64 { return p.messages[kind].Load() }

// MidStream is how many connections first showed data that begins no message:
// their beginning passed by. It stays zero where the engine shows all traffic:
// there a connection is under way for most of its time.
func (p *Pipeline) MidStream() uint64 { return p.midStream.Load() }
