package censor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"b4/packet"
)

// profiles are the built-in censors. They are models, and what strategies do to
// them says nothing of what they do in a country. Sources, by venue and year:
// IMC'21 "Throttling Twitter" and IMC'22 "TSPU: Russia's Decentralized
// Censorship System"; Rambert et al., WWW'21, "GFWeb", USENIX Security'24, "A
// Wall Behind A Wall", IEEE S&P'25, and "Exposing and Circumventing SNI-based
// QUIC Censorship", USENIX Security'25, on China; Bock et al., FOCI'20, on Iran;
// WWW'23 on Turkmenistan; the Geneva project's measurements of 2021 on India;
// OONI'24 on Kazakhstan; FOCI'26 on QUIC in Russia. Guesses that Variants turns
// around are named there; that who joins TCP, or QUIC's frames, joins IP fragments
// too is one of them.
var profiles = []Profile{
	// IMC'22: any segmentation, padding past one packet, and a record ahead of
	// the hello evade it, hence WholeHello.
	tspu2022("tspu-2022-I", Action{Rewrite: true}, 75*time.Second),
	tspu2022("tspu-2022-II", Action{Drop: Both, After: Span{5, 8}}, 420*time.Second),
	tspu2022("tspu-2022-IV", Action{Drop: Both, DropHello: true}, 40*time.Second),

	// Since January 2024 hellos longer than a packet are read (one field
	// report); the vendor's manual tells of at most 30 packets. That they are
	// joined in order only is a guess. Encrypted hellos to one provider since
	// November 2024 (several field reports).
	{
		Name: "tspu-2024", InsideSYN: true, MaxPackets: 30,
		TCP: Reassembly{Mode: InOrder}, ECH: []string{"cloudflare-ech.com"},
		Action:   Action{Drop: Both, After: Span{5, 8}},
		Residual: Residual{For: 420 * time.Second},
	},

	// Field reports since 2025, several and independent: to listed networks,
	// about 25 packets both ways and then nothing, unless an allowed name was
	// seen in clear. The networks here are those for documentation (RFC 5737,
	// RFC 3849); who models others sets them.
	{
		Name: "tspu-16k", MaxPackets: 25, AllowList: true, UDP: true,
		Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Action:   Action{Drop: Both, After: Span{25, 25}},
		Residual: Residual{For: defaultTimeout, Renew: true},
	},

	// IMC'21: 100-150 kbit/s each way, 15-20 packets, state lost after ten idle
	// minutes and not by FIN or RST. The burst is a guess.
	{
		Name: "tspu-throttle", Inbound: true, InsideSYN: true,
		MaxPackets: 20, Garbage: 101, WholeHello: true, Timeout: 10 * time.Minute,
		Action:   Action{Rate: 16000, Burst: 16 << 10},
		Residual: Residual{For: 10 * time.Minute, Renew: true},
	},

	// IMC'22: whatever the name, version 1 to port 443 in at least 1001 bytes.
	{
		Name: "tspu-quic22", NoTLS: true, Defrag: true, QUIC: QUIC{All: true, Ports: []uint16{443}, Bytes: 1001},
		Action:   Action{Drop: Both, DropHello: true},
		Residual: Residual{For: 420 * time.Second, Renew: true},
	},
	// FOCI'26: by name, version 1, outbound, other ports too.
	{
		Name: "tspu-quic25", NoTLS: true, Defrag: true, QUIC: QUIC{Reads: true, Frames: Full},
		Action:   Action{Drop: Both, DropHello: true},
		Residual: Residual{For: 420 * time.Second, Renew: true},
	},
	// Two field reports: more than three hellos with one name to one server at
	// once. That the next connections to the server freeze too is a guess.
	{
		Name: "tspu-par", InsideSYN: true, Police: Police{Hellos: 3, Within: 400 * time.Millisecond},
		Action:   Action{Drop: Both, DropHello: true},
		Residual: Residual{For: 60 * time.Second, Most: 120 * time.Second, AnyPort: true},
	},

	// Two of the injectors at the border: I sends one RST, II three RST/ACK
	// (WWW'21 for the 90 s). That a name is read from a hello which goes on
	// in the next packet, and that any packet provokes the residual resets, are
	// guesses, the harder ones for the client.
	{
		Name: "gfw-2022", Hops: 8, Inbound: true,
		Action:   Action{RST: 1, RSTACK: 3, To: Both},
		Residual: Residual{For: 90 * time.Second, AnyPort: true},
	},
	// GFWeb: reassembles TCP wholly and verifies checksums, but joins no
	// records.
	{
		Name: "gfw-2024", Hops: 8, Inbound: true, TCP: Reassembly{Mode: Full}, Defrag: true, Checksum: true,
		Action:   Action{RSTACK: 3, To: Both, Delay: [2]time.Duration{0, 200 * time.Millisecond}},
		Residual: Residual{For: 90 * time.Second, Most: 350 * time.Second, AnyPort: true},
	},
	// One field report, December 2025: hellos of 400 records are read.
	{
		Name: "gfw-2025-edge", Hops: 8, Inbound: true, TCP: Reassembly{Mode: Full}, JoinRecords: true, Defrag: true, Checksum: true,
		Action:   Action{RSTACK: 3, To: Both},
		Residual: Residual{For: 90 * time.Second, AnyPort: true},
	},
	// IEEE S&P'25. That the one reset goes to the client is a guess.
	{
		Name: "gfw-henan", Hops: 4, Flags: packet.PSH, PlainTCP: true,
		Action: Action{RSTACK: 1, To: ToClient, Bytes: "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x00"},
	},
	// USENIX Security'25: connections are kept for 60 s.
	{
		Name: "gfw-quic", Hops: 8, NoTLS: true, Defrag: true, Timeout: 60 * time.Second,
		QUIC:     QUIC{Reads: true, First: true, SourceHigh: true, Bytes: 137, Frames: InOrder},
		Action:   Action{Drop: ToServer, Delay: [2]time.Duration{60 * time.Millisecond, 7500 * time.Millisecond}},
		Residual: Residual{For: 180 * time.Second, AnyPort: true},
	},

	// FOCI'20: what its first two packets do not show to be TLS, HTTP or DNS.
	{
		Name: "iran-2020", NoTLS: true, Ports: []uint16{53, 80, 443}, Protocols: Protocols{Packets: 2},
		Action:   Action{Drop: ToServer, DropHello: true},
		Residual: Residual{For: 60 * time.Second, Renew: true},
	},
	// One field report: it waits for up to ten packets, and does without a
	// name what it does with a listed one. That early packets are kept is a guess.
	{
		Name: "iran-2024", Inbound: true, HTTP: Strict, Nameless: true, Defrag: true,
		TCP:    Reassembly{Mode: Full, Packets: 10},
		Action: Action{RST: 1, To: Both},
	},
	// Field reports of 2026. From how few bytes on a packet is no full one,
	// and so its hello fragmented, is a guess.
	{
		Name: "iran-2026", TCP: Reassembly{Mode: Full}, JoinRecords: true, Defrag: true, Fragment: 1200,
		Action:   Action{Drop: Both, DropHello: true},
		Residual: Residual{For: 60 * time.Second, AnyPort: true, Host: true},
	},

	// WWW'23: bidirectional, all ports, any packet of the 4-tuple provokes it.
	{
		Name: "tm-2023", Inbound: true, HTTP: Strict,
		Action:   Action{RST: 1, To: Both, TTL: 128, ID: 30000},
		Residual: Residual{For: 30 * time.Second},
	},
	// Geneva: stateless, one RST/ACK each way, acts on 96.3 %.
	{
		Name: "in-airtel", Ports: []uint16{80, 443}, Flags: packet.PSH | packet.ACK, HTTP: Strict,
		Action: Action{RSTACK: 1, To: Both, PerMille: 963},
	},
	// Field reports: resets for names and hosts, within the first three hops,
	// and fragments are understood. How TCP is joined is a guess.
	{
		Name: "tr-2024", Hops: 2, TCP: Reassembly{Mode: Full}, Defrag: true, HTTP: Strict,
		Action: Action{RST: 1, To: Both},
	},
	// OONI'24, and a vendor's papers on an older version: nothing more comes
	// through after a hello, QUIC's over several datagrams too.
	{
		Name: "kz", TCP: Reassembly{Mode: InOrder},
		QUIC:     QUIC{Reads: true, Bytes: 1200, Frames: Full, Datagrams: 4},
		Action:   Action{Drop: Both, DropHello: true},
		Residual: Residual{For: 60 * time.Second},
	},

	// Nobody's in particular, here and below: what full reassembly does, which copy of
	// overlapping bytes it believes, and what it does then.
	full("full", Reassembly{Mode: Full}, false, resets),
	full("full-last", Reassembly{Mode: Full, LastWins: true}, false, resets),
	full("full-drop", Reassembly{Mode: Full}, false, Action{Drop: Both, DropHello: true}),
	full("full-join", Reassembly{Mode: Full}, true, resets),
	// Plain requests: how well they are read, and the three things done to them.
	{Name: "http-rst", NoTLS: true, HTTP: Strict, Action: Action{RSTACK: 1, To: Both}},
	{Name: "http-redirect", NoTLS: true, HTTP: Strict, TCP: Reassembly{Mode: InOrder}, Action: Action{
		Drop: ToServer, DropHello: true, Page: "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.80/\r\nContent-Length: 0\r\n\r\n",
	}},
	{Name: "http-drop", NoTLS: true, HTTP: Loose, TCP: Reassembly{Mode: Full}, Defrag: true, Checksum: true,
		Action: Action{Drop: Both, DropHello: true}, Residual: Residual{For: 60 * time.Second}},
}

// resets are those of China's second injector.
var resets = Action{RSTACK: 3, To: Both}

func tspu2022(name string, a Action, residual time.Duration) Profile {
	return Profile{
		Name: name, InsideSYN: true, MaxPackets: 1, WholeHello: true,
		Action: a, Residual: Residual{For: residual},
	}
}

func full(name string, tcp Reassembly, joinRecords bool, a Action) Profile {
	return Profile{
		Name: name, Inbound: true, TCP: tcp, JoinRecords: joinRecords, Defrag: true, Checksum: true,
		Action: a, Residual: Residual{For: 90 * time.Second, AnyPort: true},
	}
}

// A guess is a knob of a profile that nobody has measured, and what turns it
// around.
type guess struct {
	profile, name string
	turn          func(p *Profile)
}

func checksums(p *Profile)  { p.Checksum = true }
func lastWins(p *Profile)   { p.TCP.LastWins = true }
func synData(p *Profile)    { p.SYNData = true }
func turnDefrag(p *Profile) { p.Defrag = !p.Defrag }

var guesses = []guess{
	{"tspu-2024", "checks checksums", checksums},
	{"tspu-2024", "keeps early packets", func(p *Profile) { p.TCP.Mode = Full }},
	{"tspu-2024", "joins fragments", turnDefrag},
	{"tspu-2024", "reads data on a SYN", synData},
	{"tspu-quic22", "leaves fragments", turnDefrag},
	{"tspu-quic25", "leaves fragments", turnDefrag},
	{"tspu-quic25", "frames in order", func(p *Profile) { p.QUIC.Frames = InOrder }},
	{"gfw-2024", "last copy wins", lastWins},
	{"gfw-2025-edge", "last copy wins", lastWins},
	{"gfw-2024", "leaves fragments", turnDefrag},
	{"gfw-2024", "reads data on a SYN", synData},
	{"gfw-2025-edge", "leaves fragments", turnDefrag},
	{"gfw-2025-edge", "reads data on a SYN", synData},
	{"gfw-quic", "leaves fragments", turnDefrag},
	{"gfw-quic", "one frame", func(p *Profile) { p.QUIC.Frames = None }},
	{"iran-2020", "one packet is enough", func(p *Profile) { p.Protocols.Any = true }},
	{"iran-2024", "checks checksums", checksums},
	{"iran-2024", "in order", func(p *Profile) { p.TCP.Mode = InOrder }},
	{"iran-2024", "leaves fragments", turnDefrag},
	{"iran-2024", "reads data on a SYN", synData},
	{"iran-2026", "checks checksums", checksums},
	{"iran-2026", "leaves fragments", turnDefrag},
	{"iran-2026", "reads data on a SYN", synData},
	{"iran-2026", "last copy wins", lastWins},
	{"kz", "joins fragments", turnDefrag},
	{"tr-2024", "joins nothing", func(p *Profile) { p.TCP.Mode = None }},
}

// Variants returns p and, where guesses went into it, what it is with each of
// them turned around. Their names say which: "iran-2024: checks checksums".
func Variants(p Profile) []Profile {
	all := []Profile{p}
	for _, g := range guesses {
		if g.profile == p.Name {
			v := p
			v.Name += ": " + g.name
			g.turn(&v)
			all = append(all, v)
		}
	}
	return all
}

// Profiles returns the built-in profiles. The caller may set their knobs to
// other values.
func Profiles() []Profile { return slices.Clone(profiles) }

// Lookup returns the built-in profile of that name.
func Lookup(name string) (Profile, error) {
	names := make([]string, len(profiles))
	for i, p := range profiles {
		if p.Name == name {
			return p, nil
		}
		names[i] = p.Name
	}
	return Profile{}, fmt.Errorf("look up censor %q: want one of %s", name, strings.Join(names, ", "))
}
