package docs

import (
	"fmt"
	"strings"
	"testing"

	"b4/desync"
)

const strategiesHead = `# Strategies, step by step

<!-- Made from the steps of package desync: go test ./docs -update -->

A strategy is a line of text: steps, done in order. ` + "`fake(ttl=auto) split(midsld) disorder`" + `
sends a decoy, and then the message in two segments, the later one first. It is
written into an option of a section strategy (tls, http or quic), or, for TLS, into
a rule itself; [UCI.md](UCI.md) has them all.

- Whatever the steps, the server reads what the client wrote: the very bytes of a
  ClientHello, and of a plain request one that means the same in as many bytes. Of
  steps that send something else besides that is true as far as what keeps the
  server from it does: [which that is, and where it fails](#what-keeps-a-server-from-a-decoy).
- Steps of the handshake stand first, then those for the message, then those for
  packets. A text that breaks a rule is refused, with the position and the reason.
- What a message has not (a name, an ALPN), or a connection has no place for (an
  IPv6 option in IPv4), is left out. Where nothing would keep the server from a
  decoy, the message goes in one piece and alone.
- On a plain connection each request is treated by the rule for its own host, until
  the client has sent 256 KiB, acknowledgements included: an upload does so, and
  reading may, from 10 MB on. It ends sooner with what is no request behind an answer:
  a WebSocket's data, an upload that has waited for ` + "`100 Continue`" + `. What is asked
  on the same connection later goes as it is.
- Decoys are for censors that nothing milder fools: a proxy or normaliser on the way
  may take one for data, and then an allowed site breaks. Try segments first.
  [MATRIX.md](MATRIX.md) shows what fools which model of a censor.
- ` + "`b4d strategies`" + ` prints this list, ` + "`-json`" + ` for programs.
`

// phases says what the phases of steps are, in the order they stand.
var phases = []struct{ name, title, about string }{
	{"syn", "The handshake", "These act before the name is known. They count in the first rule alone, and only\n" +
		"if that rule is for all names. Engine nfqueue shows b4 the packets for them, engine\n" +
		"tun does not."},
	{"message", "The message", "These make segments, in QUIC frames, of the ClientHello or the request, and decoys beside them."},
	{"packet", "Packets", "These act on the packets that carry all that, and stand last."},
}

// protocols are the kinds of messages, as the steps name them.
var protocols = map[string]string{"tls": "TLS", "http": "HTTP", "quic": "QUIC"}

const foolingsHead = `
## What keeps a server from a decoy

A decoy that the server reads after all breaks the connection; QUIC's are of another
and do not. Which of these hold is a matter of the server and of the way to it; two
are safer than one.

| | how | where it fails |
|---|---|---|
`

// foolings says of each way to keep a server from a decoy where that fails.
var foolings = []struct{ name, how, fails string }{
	{"ttl=n", "it ends at the n-th router", "where the server is no farther: measure, and mind that ways change"},
	{"ttl=auto", "it ends at the last router ahead of the server, by the TTL of the server's answer", "where answers take another way, or something near answers for the server; then a decoy may also end ahead of the censor. Before a server has ever answered it is not known, and the decoy is left out"},
	{"badsum", "wrong checksum", "where a router or proxy on the way makes checksums anew"},
	{"md5", "TCP MD5 signature (RFC 2385)", "servers that are not Linux, or one built without it, may read it"},
	{"badseq", "below what the server waits for", "no TCP is known to read it"},
	{"badack", "acknowledges what the server never sent", "no TCP is known to read it"},
	{"ts", "timestamp of ten minutes ago (PAWS, RFC 7323)", "left out without timestamps, which Windows mostly does not send"},
	{"noack", "without the flag ACK", "no TCP is known to read it"},
	{"hopbyhop", "IPv6 option that says to discard the packet", "IPv4; the first Linux router drops it, and so do many networks"},
	{"destopt", "the same, for the server alone", "IPv4; many networks drop it"},
}

// beware says what else steps may do to connections.
const beware = `
Some other steps ask something of servers, or of what is on the way:

- rst: a firewall or NAT on the way may believe it, and forget the connection.
- syndata: RFC 9293 lets a server keep the data of a SYN. Linux does not,
  but for one that takes TCP Fast Open without a cookie; a server that does breaks the connection.
- wsize: a very small window makes the client wait for the server, up to some 200 ms.
- ipfrag: some networks and servers drop all fragments.
- methodeol, unixeol, hostdot: not every web server takes them; each says which do.
`

// strategies is the whole of STRATEGIES.md.
func strategies() string {
	var b strings.Builder
	b.WriteString(strategiesHead)
	for _, p := range phases {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", p.title, p.about)
		for _, s := range desync.Steps() {
			if s.Phase == p.name {
				writeStep(&b, &s)
			}
		}
	}
	b.WriteString("\n## Positions\n\nA number counts bytes from the beginning of the message, a negative one from its\n" +
		"end. A marker names a place, with `+n` or `-n` behind where another byte near it is\nmeant: `midsld`, `host+2`, `-1`.\n\n" +
		"| marker | in | is |\n|---|---|---|\n")
	for _, m := range desync.Markers() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Name, names(m.For), plain(m.Help))
	}
	b.WriteString(foolingsHead)
	for _, f := range foolings {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.name, f.how, f.fails)
	}
	return b.String() + beware
}

// Every word that keeps a server from a decoy is spoken of.
func TestFoolings(t *testing.T) {
	page := strategies()
	for _, s := range desync.Steps() {
		for _, p := range s.Params {
			for _, word := range p.Words {
				if p.Name == "fooling" && !strings.Contains(page, "| `"+word+"` | ") {
					t.Errorf("the page does not say where %s fails", word)
				}
			}
		}
	}
}

func writeStep(b *strings.Builder, s *desync.StepHelp) {
	fmt.Fprintf(b, "\n### %s\n\n`%s`\n\n%s: %s.\n", s.Name, s.Usage(), names(s.For), plain(s.Help))
	if len(s.Params) == 0 {
		return
	}
	b.WriteString("\n| parameter | values | what it is |\n|---|---|---|\n")
	for _, p := range s.Params {
		name := p.Name
		if p.Keyed {
			name += "="
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, plain(p.Values()), plain(p.Help))
	}
}

func names(protos []string) string {
	var list []string
	for _, p := range protos {
		list = append(list, protocols[p])
	}
	return strings.Join(list, ", ")
}

func TestStrategies(t *testing.T) { written(t, "STRATEGIES.md", strategies()) }

// Every step stands in a phase that the page has, and is for a protocol it names.
func TestPhases(t *testing.T) {
	for _, s := range desync.Steps() {
		known := false
		for _, p := range phases {
			known = known || p.name == s.Phase
		}
		if !known || strings.Contains(names(s.For), ", ,") || names(s.For) == "" {
			t.Errorf("%s is of phase %q, for %q", s.Name, s.Phase, s.For)
		}
	}
}
