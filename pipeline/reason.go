package pipeline

// A Reason is why a packet got its verdict. Every packet that comes has one.
type Reason uint8

const (
	Other    Reason = iota // not TCP, a SYN, or not a packet b4 reads
	Cut                    // only its beginning was shown to us
	Reply                  // from the server: looked at, never changed
	Empty                  // no data
	NotTLS                 // data that begins no ClientHello
	Held                   // part of a hello, kept until the rest comes, or sent again while it is
	TooLong                // a hello beyond the bounds: let go as it came
	Late                   // was held, and the rest of the hello did not come in time
	NoName                 // a hello without a host name
	NoRule                 // no rule for the name
	Passed                 // the rule says pass
	Dropped                // the rule says drop
	Treated                // the strategy was applied
	Again                  // the client sent it again, and the strategy was applied again
	AsIs                   // the strategy leaves this hello as it is
	Failed                 // the strategy could not be applied to this hello
	Early                  // data that neither belongs to a hello known to us nor ends our part
	Finished               // the first data after the answer: the kernel shows us no more
	Evicted                // was held, and newer connections needed the room
	UnderWay               // data of a connection under way, which an engine shows that shows all traffic
	reasons
)

// names are the keys of the counters in `b4d status -json`.
var names = [reasons]string{
	"other", "cut", "reply", "empty", "not_tls", "held", "too_long", "late", "no_name", "no_rule", "passed",
	"dropped", "treated", "again", "as_is", "failed", "early", "finished", "evicted", "under_way",
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
func (p *Pipeline) Hellos() uint64 { return p.hellos.Load() }

// MidStream is how many connections first showed data that begins no hello:
// their beginning passed by. It stays zero where the engine shows all traffic:
// there a connection is under way for most of its time.
func (p *Pipeline) MidStream() uint64 { return p.midStream.Load() }
