package fw

import "errors"

// A NAT is what the firewall does to the source of the TCP connections that
// leave by one device, in one family.
type NAT uint8

const (
	Routed      NAT = iota // nothing
	Masqueraded            // all get an address of the device
	Custom                 // something else, or not all the same
)

func (n NAT) String() string {
	switch n {
	case Masqueraded:
		return "masqueraded"
	case Custom:
		return "custom"
	}
	return "routed"
}

// A Translation is what ReadNAT found. Why is, for Custom, the rule in words,
// after its table and chain.
type Translation struct {
	V4, V6     NAT
	Why4, Why6 string
}

var errUnread = errors.New("read the firewall's rules: not known yet")

// ReadNAT reads all tables but ours.
func ReadNAT(wan string) (Translation, error) { return Translation{}, errUnread }

// AcceptsForward reports whether the firewall lets what comes in by dev be
// forwarded, and else which chain does not.
func AcceptsForward(dev string) (ok bool, why string, err error) { return false, "", errUnread }
