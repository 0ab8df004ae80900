package uci

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Kind is what the value of an option must look like.
type Kind string

const (
	Bool      Kind = "bool"
	Uint      Kind = "uint"      // decimal, Min to Max
	Mark      Kind = "mark"      // hex with 0x, one bit, Min to Max
	Enum      Kind = "enum"      // one of Values
	Table     Kind = "table"     // number of a route table, Min to Max but those of the kernel
	Prefix    Kind = "prefix"    // an address of Family with its network's length
	Network   Kind = "network"   // an address of either family, or a network
	MAC       Kind = "mac"       // of a device
	Addr      Kind = "addr"      // an address of Family
	Device    Kind = "device"    // the name of a device to be made, at most Max bytes
	Interface Kind = "interface" // a netifd interface or a device, at most Max bytes
	Path      Kind = "path"      // absolute, at most Max bytes
	Domain    Kind = "domain"    // a name and all names below it; "*" is all names
	Text      Kind = "text"      // printable, at most Max bytes
)

// A Field is one row of the schema: all there is to know about one option.
type Field struct {
	Section string // type of the sections that have it
	Option  string
	Kind    Kind
	List    bool   // a list: several values, each on a line of its own
	Default string // as in the file; "" is none
	Min     uint64
	Max     uint64 // the largest number, or the most bytes
	Zero    string // what the number 0 stands for, below Min; "" where it is refused
	Family  int    // of the address: 4 or 6
	Values  []string
	Unit    string
	Help    string // one line

	into func(*target) any // a pointer to where the value goes
}

// A target is where the sections of each type go.
type target struct {
	version  int
	main     *Main
	tun      *Tun
	rule     *Rule
	strategy *Strategy
}

const (
	maxPath      = 4095    // PATH_MAX without its NUL
	maxSocket    = 107     // sun_path without its NUL, unix(7)
	maxDevice    = 15      // IFNAMSIZ without its NUL
	maxInterface = 63      // netifd's names may be longer than those of devices
	maxStrategy  = 1024    // far above any useful one
	maxMark      = 1 << 28 // the fourth bit is 1 << 31
	maxFlows     = 1 << 16 // more than a router's conntrack table holds
	maxMemory    = 1 << 12 // MiB; more than a router has
	maxUint16    = 1<<16 - 1
	maxUint32    = 1<<32 - 1
	minMTU       = 1280 // bytes; IPv6 works over no less (RFC 8200 section 5)
)

// Defaults that code needs, too.
const (
	defaultStrategy = "default"
	defaultRule     = "all"
	allNames        = "*"
)

// actions are what a rule may do.
var actions = []string{"desync", "pass", "drop", "reject"}

// schema is every option of every section type, in the order of the manual.
var schema = []Field{
	{Section: "b4", Option: "version", Kind: Uint, Default: "1", Min: 1, Max: Version,
		Help: "Version of this file's format; b4 reads older files and refuses newer ones.",
		into: func(t *target) any { return &t.version }},
	{Section: "b4", Option: "enabled", Kind: Bool, Default: "0",
		Help: "Whether the service runs.",
		into: func(t *target) any { return &t.main.Enabled }},
	{Section: "b4", Option: "engine", Kind: Enum, Default: "auto", Values: []string{"auto", "nfqueue", "tun"},
		Help: "How packets come to b4; auto takes the best this kernel has.",
		into: func(t *target) any { return &t.main.Engine }},
	{Section: "b4", Option: "steer", Kind: Enum, Default: "decisive", Values: []string{"decisive", "all"},
		Help: "The first packets of a connection, or all: for kernels without conntrack counters, and slower.",
		into: func(t *target) any { return &t.main.Steer }},
	{Section: "b4", Option: "wan", Kind: Interface, List: true, Max: maxInterface,
		Help: "Interfaces or devices to the internet; none: those that hold a default route of the table main, but for tunnels of VPNs.",
		into: func(t *target) any { return &t.main.WAN }},
	{Section: "b4", Option: "ipv6", Kind: Bool, Default: "1",
		Help: "Treat IPv6 too.",
		into: func(t *target) any { return &t.main.IPv6 }},
	{Section: "b4", Option: "router", Kind: Bool, Default: "1",
		Help: "Treat connections that the router itself opens too.",
		into: func(t *target) any { return &t.main.Router }},
	{Section: "b4", Option: "tcp_port", Kind: Uint, List: true, Default: "443", Min: 1, Max: maxUint16,
		Help: "TCP destination ports to watch.",
		into: func(t *target) any { return &t.main.TCPPorts }},
	{Section: "b4", Option: "http_port", Kind: Uint, List: true, Default: "80", Min: 1, Max: maxUint16,
		Help: "TCP destination ports to watch too where a rule treats or blocks plain HTTP.",
		into: func(t *target) any { return &t.main.HTTPPorts }},
	{Section: "b4", Option: "quic_port", Kind: Uint, List: true, Default: "443", Min: 1, Max: maxUint16,
		Help: "UDP destination ports to watch where a rule treats or blocks QUIC.",
		into: func(t *target) any { return &t.main.QUICPorts }},
	{Section: "b4", Option: "observe", Kind: Bool, Default: "0",
		Help: "Look at the first answers of servers too, to tell in status how connections end; needs engine nfqueue.",
		into: func(t *target) any { return &t.main.Observe }},
	{Section: "b4", Option: "never", Kind: Path, Default: DefaultNever, Max: maxPath,
		Help: "A file of hosts that are never touched: a name (with all names below it), an address or a network a line.",
		into: func(t *target) any { return &t.main.Never }},
	{Section: "b4", Option: "queue_num", Kind: Uint, Default: "537", Max: maxUint16,
		Help: "Number of the netfilter queue, the first of several; with steer all b4 takes as many behind them too (538 with 537); change it where another program has one.",
		into: func(t *target) any { return &t.main.QueueNum }},
	{Section: "b4", Option: "queues", Kind: Uint, Default: "1", Min: 1, Max: 8,
		Help: "Netfilter queues that connections are spread over by their addresses, at most one for each processor core; engine nfqueue alone has them.",
		into: func(t *target) any { return &t.main.Queues }},
	{Section: "b4", Option: "queue_len", Kind: Uint, Default: "1024", Min: 16, Max: maxUint16, Unit: "packets",
		Help: "Packets that the kernel holds for b4 at most; further ones pass untouched.",
		into: func(t *target) any { return &t.main.QueueLen }},
	{Section: "b4", Option: "max_flows", Kind: Uint, Default: "4096", Min: 64, Max: maxFlows, Unit: "connections",
		Help: "Connections that b4 remembers at once at most.",
		into: func(t *target) any { return &t.main.MaxFlows }},
	{Section: "b4", Option: "memory_limit", Kind: Uint, Default: "24", Min: 8, Max: maxMemory, Zero: "none", Unit: "MiB",
		Help: "Memory that b4 tries to stay below, at the price of CPU time close to it.",
		into: func(t *target) any { return &t.main.MemoryLimit }},
	{Section: "b4", Option: "mark", Kind: Mark, Default: "0x01000000", Min: 1, Max: maxMark,
		Help: "Lowest of the four adjoining fwmark bits that b4 uses; rules for devices take the next four above, or below if there is no room.",
		into: func(t *target) any { return &t.main.Mark }},
	{Section: "b4", Option: "confine", Kind: Bool, Default: "1",
		Help: "Give up the rights and system calls that b4 does not need; takes effect at the next start; 0 is for debugging.",
		into: func(t *target) any { return &t.main.Confine }},
	{Section: "b4", Option: "log_level", Kind: Enum, Default: "info", Values: []string{"debug", "info", "warn", "error"},
		Help: "The least weighty messages that are logged.",
		into: func(t *target) any { return &t.main.LogLevel }},
	{Section: "b4", Option: "socket", Kind: Path, Default: DefaultSocket, Max: maxSocket,
		Help: "The control socket, which status and LuCI ask.",
		into: func(t *target) any { return &t.main.Socket }},

	{Section: "tun", Option: "device", Kind: Device, Default: "b4tun0", Max: maxDevice,
		Help: "Name of the TUN; the firewall's include knows those that begin with b4tun.",
		into: func(t *target) any { return &t.tun.Device }},
	{Section: "tun", Option: "ipaddr", Kind: Prefix, Default: "10.255.0.1/32", Family: 4,
		Help: "The TUN's own IPv4 address, which never leaves the router.",
		into: func(t *target) any { return &t.tun.V4 }},
	{Section: "tun", Option: "ip6addr", Kind: Prefix, Default: "fd62:3400::1/128", Family: 6,
		Help: "The TUN's own IPv6 address, which never leaves the router.",
		into: func(t *target) any { return &t.tun.V6 }},
	{Section: "tun", Option: "out", Kind: Interface, Max: maxInterface,
		Help: "Interface or device that packets leave by; none: the WAN device.",
		into: func(t *target) any { return &t.tun.Out }},
	{Section: "tun", Option: "gateway", Kind: Addr, Family: 4,
		Help: "Next hop of IPv4 packets; none: what the routes say.",
		into: func(t *target) any { return &t.tun.Gateway4 }},
	{Section: "tun", Option: "ip6gw", Kind: Addr, Family: 6,
		Help: "Next hop of IPv6 packets; none: what the routes say.",
		into: func(t *target) any { return &t.tun.Gateway6 }},
	{Section: "tun", Option: "route_table", Kind: Table, Default: "25140", Min: 1, Max: maxUint32,
		Help: "Number of a route table for b4 alone; change it where another program has it.",
		into: func(t *target) any { return &t.tun.Table }},
	{Section: "tun", Option: "mtu", Kind: Uint, Default: "0", Min: minMTU, Max: maxUint16, Zero: "WAN's", Unit: "bytes",
		Help: "MTU of the TUN, at most WAN's; 0 follows WAN's.",
		into: func(t *target) any { return &t.tun.MTU }},
	{Section: "tun", Option: "nat", Kind: Enum, Default: "auto", Values: []string{"auto", "masquerade", "none"},
		Help: "Whether connections by WAN are masqueraded; auto reads the firewall's rules.",
		into: func(t *target) any { return &t.tun.NAT }},

	{Section: "rule", Option: "domain", Kind: Domain, List: true,
		Help: "A name and all names below it; '*', or none of domain, domain_file and prefix: all names.",
		into: func(t *target) any { return &t.rule.Domain }},
	{Section: "rule", Option: "not", Kind: Domain, List: true,
		Help: "A name, with all names below it, that this rule leaves to the next ones.",
		into: func(t *target) any { return &t.rule.Not }},
	{Section: "rule", Option: "domain_file", Kind: Path, List: true, Max: maxPath,
		Help: "A file with a name, an address or a network a line, as for domain and prefix; root's own, or readable by all.",
		into: func(t *target) any { return &t.rule.DomainFile }},
	{Section: "rule", Option: "prefix", Kind: Network, List: true,
		Help: "Address of servers that the rule is for too, whatever their names, or a network of them; long lists belong in domain_file.",
		into: func(t *target) any { return &t.rule.Prefixes }},
	{Section: "rule", Option: "mac", Kind: MAC, List: true,
		Help: "MAC of a device that the rule is for; neither mac nor source nor interface: all devices, and the router.",
		into: func(t *target) any { return &t.rule.MACs }},
	{Section: "rule", Option: "source", Kind: Network, List: true,
		Help: "Address of a device that the rule is for, as it is on the LAN, or a network of them.",
		into: func(t *target) any { return &t.rule.Sources }},
	{Section: "rule", Option: "interface", Kind: Interface, List: true, Max: maxInterface,
		Help: "Interface or device of the router that the devices which the rule is for are behind.",
		into: func(t *target) any { return &t.rule.Interfaces }},
	{Section: "rule", Option: "port", Kind: Uint, List: true, Min: 1, Max: maxUint16,
		Help: "Destination port that the rule is for, watched even if main does not; none: all that are watched.",
		into: func(t *target) any { return &t.rule.Ports }},
	{Section: "rule", Option: "strategy", Kind: Text, Default: defaultStrategy, Max: maxStrategy,
		Help: "What is done to the hello: a strategy's name, auto, or a text as for its option tls.",
		into: func(t *target) any { return &t.rule.Strategy }},
	{Section: "rule", Option: "action", Kind: Enum, Default: "desync", Values: actions,
		Help: "Apply the strategy, leave the connection alone, block it, or block it and tell the client.",
		into: func(t *target) any { return &t.rule.Action }},
	{Section: "rule", Option: "quic", Kind: Enum, Values: actions,
		Help: "The same for QUIC alone; none: as action. With reject, browsers go on by TCP at once.",
		into: func(t *target) any { return &t.rule.QUIC }},

	{Section: "strategy", Option: "tls", Kind: Text, Max: maxStrategy,
		Help: "Steps for the TLS ClientHello over TCP; none: untouched.",
		into: func(t *target) any { return &t.strategy.TLS }},
	{Section: "strategy", Option: "quic", Kind: Text, Max: maxStrategy,
		Help: "Steps for QUIC Initial packets; none: untouched.",
		into: func(t *target) any { return &t.strategy.QUIC }},
	{Section: "strategy", Option: "http", Kind: Text, Max: maxStrategy,
		Help: "Steps for the plain HTTP request; none: untouched.",
		into: func(t *target) any { return &t.strategy.HTTP }},
}

// Schema returns the table of all options, for manuals and forms.
func Schema() []Field { return slices.Clone(schema) }

// field returns the row of one option, or nil.
func field(section, option string) *Field {
	for i := range schema {
		if schema[i].Section == section && schema[i].Option == option {
			return &schema[i]
		}
	}
	return nil
}

// Want says in a few words which values the field takes.
func (f *Field) Want() string {
	if f.List {
		return f.wantOne() + ", each on a list line of its own"
	}
	return f.wantOne()
}

func (f *Field) wantOne() string {
	switch f.Kind {
	case Bool:
		return "1 or 0"
	case Uint:
		want := "a number from " + strconv.FormatUint(f.Min, 10) + " to " + strconv.FormatUint(f.Max, 10)
		if f.Unit != "" {
			want += " (" + f.Unit + ")"
		}
		if f.Zero != "" {
			want += ", or 0 for " + f.Zero
		}
		return want
	case Table:
		return fmt.Sprintf("a number from %d to %d but not %d to %d", f.Min, f.Max, tableCompat, tableLocal)
	case Prefix:
		return fmt.Sprintf("an IPv%d address and its prefix length, such as %s", f.Family, f.Default)
	case Network:
		return "an address or a network, such as 192.168.1.20 or fd00:1::/64"
	case MAC:
		return "the MAC of a device, such as 00:11:22:aa:bb:cc"
	case Addr:
		if f.Family == 6 {
			return "an IPv6 address such as fe80::1"
		}
		return "an IPv4 address such as 192.0.2.1"
	case Device:
		return fmt.Sprintf("a device name: 1 to %d ASCII characters, no blank, /, : or %%", f.Max)
	case Mark:
		return "one bit in hex, 0x" + strconv.FormatUint(f.Min, 16) + " to 0x" + strconv.FormatUint(f.Max, 16)
	case Enum:
		return "one of " + strings.Join(f.Values, ", ")
	case Interface:
		return "an interface of the network configuration, or a device"
	case Path:
		return "an absolute path of at most " + strconv.FormatUint(f.Max, 10) + " bytes"
	case Domain:
		return "a name such as example.org"
	}
	return "printable text of at most " + strconv.FormatUint(f.Max, 10) + " bytes"
}
