package uci

import "net/netip"

// Version is the version of the configuration that this package reads. Older
// ones are migrated while they are read; newer ones are refused.
const Version = 1

// DefaultTLS is what the built-in strategy does to a ClientHello: two segments
// cut inside the name, the later one first. No decoys, so that nothing breaks
// behind middleboxes that let decoys through to the server.
const DefaultTLS = "split(midsld) disorder"

// A Config is a checked configuration. It is complete: what the file leaves out
// has its default, and every name a rule uses is there.
type Config struct {
	Version    int // always Version, whatever version the file has
	Main       Main
	Tun        Tun
	Rules      []Rule     // in file order; the first that matches decides
	Strategies []Strategy // in file order, then the built-in one, then those written into rules

	places map[string]Place
}

// Main is the section of type b4 with the name main.
type Main struct {
	Enabled     bool     // whether the service runs at all
	Engine      string   // auto, nfqueue or tun
	Steer       string   // decisive or all: which packets of the watched ports come to the engine
	WAN         []string // netifd interfaces or devices; none are the holders of a default route
	IPv6        bool     // treat IPv6 too
	Router      bool     // treat connections that the router itself opens too
	TCPPorts    []uint16 // TCP destination ports, none twice
	HTTPPorts   []uint16 // further ones, which matter only to rules for plain HTTP
	QUICPorts   []uint16 // UDP destination ports, which matter only to rules for QUIC
	Observe     bool     // look at the servers' answers too
	Never       string   // path of the file of hosts that are never touched; the default one may be missing
	QueueNum    uint16   // number of the NFQUEUE, the first where there are several
	Queues      int      // how many NFQUEUEs there are, 1 to 8
	QueueLen    int      // packets that the kernel holds for us at most
	MaxFlows    int      // connections remembered at most
	MemoryLimit int      // MiB; 0 is none
	Mark        uint32   // lowest of the four fwmark bits; one bit
	Confine     bool     // give up what is not needed, once it runs
	LogLevel    string   // debug, info, warn or error
	Socket      string   // path of the control socket
}

// Tun is the section of type tun with the name tun: what engine tun needs.
type Tun struct {
	Device   string       // the TUN's name, at most 15 bytes
	V4, V6   netip.Prefix // its own addresses, each with the length of its network
	Out      string       // netifd interface or device that packets leave by; "" is the WAN device
	Gateway4 netip.Addr   // next hop of IPv4; the zero Addr is what the routes say
	Gateway6 netip.Addr   // next hop of IPv6; the zero Addr is what the routes say
	Table    uint32       // the route table that is b4's own; none of the kernel's
	MTU      int          // bytes, 1280 to 65535; 0 follows WAN's
	NAT      string       // auto, masquerade or none: whether connections by WAN are masqueraded; auto reads the firewall's rules
}

// A Rule says what is done about some names. The lists are normalised: lower
// case, without a leading "*." and a trailing dot. Rules match whole labels
// from the right.
//
// MACs, Sources and Interfaces are the devices that it is for: one that matches
// an entry of each list that is not empty. All empty, it is for all and the
// router itself.
type Rule struct {
	Name       string         // the section's; "all" for the implicit rule of a file without rules
	Domain     []string       // none here, in DomainFile and in Prefixes: all names
	Not        []string       // names excluded
	DomainFile []string       // absolute paths of files with names, and with networks as in Prefixes
	Prefixes   []netip.Prefix // of either family, masked: servers whatever their names
	MACs       [][6]byte
	Sources    []netip.Prefix // of either family, masked: the devices' own addresses
	Interfaces []string       // netifd interfaces or devices of the router
	Ports      []uint16       // destination ports, watched even if Main has others; none: all that are watched
	Strategy   string         // the name of one of Config.Strategies
	Action     string         // desync, pass, drop or reject
	QUIC       string         // the same for QUIC alone; "" is as Action
	At         Place
}

// A Strategy is the text of what is done per protocol; package desync parses
// it. An empty text leaves the protocol untouched.
type Strategy struct {
	Name string // the section's, or RULE.strategy for a text written into a rule
	TLS  string
	QUIC string
	HTTP string
	At   Place
}

// A Warning is something in a file that does not keep b4 from using it.
type Warning struct {
	At   Place
	Text string
}

func (w Warning) String() string { return w.At.String() + ": " + w.Text }

// Place returns where an option was set, for the errors of later checks: the
// options of main and tun as "main.wan" and "tun.device", others as "rule.video.domain" and
// "strategy.default.tls", whole sections as "rule.video". It is the first line
// of a list, and the zero Place for what was not set.
func (c *Config) Place(option string) Place { return c.places[option] }
