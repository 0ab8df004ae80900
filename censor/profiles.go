package censor

import (
	"fmt"
	"strings"
	"time"

	"b4/packet"
)

// profiles are the built-in censors. Sources, by venue and year: IMC'21
// "Throttling Twitter" and IMC'22 "TSPU: Russia's Decentralized Censorship
// System"; Rambert et al., WWW'21, and "GFWeb", USENIX Security'24, on China;
// WWW'23 on Turkmenistan; the Geneva project's measurements of 2021 on India.
var profiles = []Profile{
	// IMC'22: any segmentation, padding past one packet, and a record ahead of
	// the hello evade it, hence WholeHello.
	tspu2022("tspu-2022-I", Action{Rewrite: true}, 75*time.Second),
	tspu2022("tspu-2022-II", Action{Drop: Both, After: Span{5, 8}}, 420*time.Second),
	tspu2022("tspu-2022-IV", Action{Drop: Both, DropHello: true}, 40*time.Second),

	// Since January 2024 hellos longer than a packet are read (one field
	// report); the vendor's manual tells of at most 30 packets. That they are
	// joined in order only, and that checksums are not verified, are guesses.
	{
		Name: "tspu-2024", InsideSYN: true, MaxPackets: 30,
		TCP:      Reassembly{Mode: InOrder},
		Action:   Action{Drop: Both, After: Span{5, 8}},
		Residual: Residual{For: 420 * time.Second},
	},

	// IMC'21: 100-150 kbit/s each way, 15-20 packets, state lost after ten idle
	// minutes and not by FIN or RST. The burst is a guess.
	{
		Name: "tspu-2021-throttle", Inbound: true, InsideSYN: true,
		MaxPackets: 20, Garbage: 101, WholeHello: true, Timeout: 10 * time.Minute,
		Action:   Action{Rate: 16000, Burst: 16 << 10},
		Residual: Residual{For: 10 * time.Minute, Renew: true},
	},

	// Field reports since 2025, several and independent: to listed networks,
	// about 25 packets both ways and then nothing, unless an allowed name was
	// seen in clear. The networks are for the caller to choose.
	{
		Name: "tspu-16k", MaxPackets: 25, AllowList: true,
		Action:   Action{Drop: Both, After: Span{25, 25}},
		Residual: Residual{For: defaultTimeout, Renew: true},
	},

	// Two of the injectors at the border: I sends one RST, II three RST/ACK
	// (WWW'21 for the 90 s). That a name is read from a hello which goes on
	// in the next packet, and that any packet provokes the residual resets, are
	// guesses, the harder ones for the client.
	{
		Name: "gfw-2022", Inbound: true,
		Action:   Action{RST: 1, RSTACK: 3, To: Both},
		Residual: Residual{For: 90 * time.Second, AnyPort: true},
	},

	// Reassembles TCP wholly and verifies checksums, but joins no records:
	// China since 2024 (GFWeb). Which copy of overlapping bytes it believes
	// is not known, so there are both.
	full("full", Reassembly{Mode: Full}, false, resets),
	full("full-last", Reassembly{Mode: Full, LastWins: true}, false, resets),
	full("full-drop", Reassembly{Mode: Full}, false, Action{Drop: Both, DropHello: true}),
	// The newest edges (field reports since December 2025) join records too.
	full("full-join", Reassembly{Mode: Full}, true, resets),

	// WWW'23: bidirectional, all ports, any packet of the 4-tuple provokes it.
	{
		Name: "tm-2023", Inbound: true,
		Action:   Action{RST: 1, To: Both, TTL: 128, ID: 30000},
		Residual: Residual{For: 30 * time.Second},
	},

	// Geneva: stateless, one RST/ACK each way, acts on 96.3 %.
	{
		Name: "in-airtel", Ports: []uint16{80, 443}, Flags: packet.PSH | packet.ACK,
		Action: Action{RSTACK: 1, To: Both, PerMille: 963},
	},
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
		Name: name, Inbound: true, TCP: tcp, JoinRecords: joinRecords, Checksum: true,
		Action: a, Residual: Residual{For: 90 * time.Second, AnyPort: true},
	}
}

// Profiles returns the built-in profiles. The caller may set their knobs to
// other values.
func Profiles() []Profile { return append([]Profile(nil), profiles...) }

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
