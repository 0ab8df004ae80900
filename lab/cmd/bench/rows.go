package main

// The rows of the report, by the names that figures and -only have for them.
const (
	rowDown, rowUp        = "download", "upload"
	rowDownCPU, rowUpCPU  = "download-cpu", "upload-cpu"
	rowOfTheirs           = "of-nfqws"
	segmented             = "-mtu" // behind those: with packets as long as the wire's
	rowRate, rowConn      = "connections", "connection-cpu"
	rowConnOwn            = "connection-own"
	rowTLS, rowSteered    = "tls", "steered"
	rowP50, rowP99        = "p50", "p99"
	rowShort, rowShortCPU = "quic-short", "quic-short-cpu"
	rowLong, rowLongCPU   = "quic-long", "quic-long-cpu"
	rowUser               = "user"
	rowAllocs, rowGCs     = "allocations", "collections"
	rowWakes, rowSwitches = "wakes", "switches"
	rowPeak               = "memory"
)

// A target is what b4 must reach, of what is compared.
type target struct {
	most  bool // at most; else at least
	value float64
}

func atMost(v float64) *target  { return &target{true, v} }
func atLeast(v float64) *target { return &target{false, v} }

// met tells whether a value reaches it.
func (t *target) met(v float64) bool { return v == t.value || v < t.value == t.most }

// targets are by variant.
type targets map[string]*target

// engines are targets of first packets, and all are those of all traffic as well.
func engines(nfqueue, tun *target) targets { return targets{"nfqueue": nfqueue, "tun": tun} }

func (t targets) all(nfqueue, tun *target) targets {
	t["nfqueue-all"], t["tun-all"] = nfqueue, tun
	return t
}

// both is for a target that does not ask for the engine.
func both(t *target) targets { return engines(t, t) }

// A metric is one row for each variant.
type metric struct {
	row, what, unit string
	scale           float64 // from the figures' unit to that one
	how             comparison
	sum             bool // of all turns, and not their median
	targets         targets
	means           string
}

var metrics = []metric{
	{rowDown, "Download, superpackets", "Gbit/s", 8e-9, ratio, false,
		engines(atLeast(0.98), atLeast(0.97)).all(atLeast(0.80), atLeast(0.75)),
		"One connection. The devices have their offloads (TSO, GSO, GRO): the kernel forwards up to 64 KiB at once."},
	{rowDownCPU, "CPU of a download, superpackets", "s/GB", 1, ratio, false,
		engines(atMost(1.02), atMost(1.03)).all(atMost(1.2), atMost(1.5)),
		"Of the whole path: client, router, server and soft interrupts together."},
	{rowUp, "Upload, superpackets", "Gbit/s", 8e-9, ratio, false,
		engines(atLeast(0.98), atLeast(0.97)).all(atLeast(0.80), atLeast(0.75)), "The same the other way."},
	{rowUpCPU, "CPU of an upload, superpackets", "s/GB", 1, ratio, false,
		engines(atMost(1.02), atMost(1.03)).all(atMost(1.2), atMost(1.5)), ""},
	{rowDown + segmented, "Download, packets of 1500 bytes", "Gbit/s", 8e-9, ratio, false,
		targets{}.all(atLeast(0.65), atLeast(0.40)), "The devices' offloads are off: what is forwarded is what a wire carries."},
	{rowDownCPU + segmented, "CPU of a download, packets of 1500 bytes", "s/GB", 1, ratio, false, engines(atMost(1.05), atMost(1.20)),
		"Of engine tun's, 1.11 is any `ip rule` at all: it switches the kernel's route hint off."},
	{rowUp + segmented, "Upload, packets of 1500 bytes", "Gbit/s", 8e-9, ratio, false, targets{}.all(atLeast(0.65), atLeast(0.40)), ""},
	{rowUpCPU + segmented, "CPU of an upload, packets of 1500 bytes", "s/GB", 1, ratio, false, engines(atMost(1.05), atMost(1.20)), ""},
	{rowRate, "Connections, 16 clients", "1/s", 1, ratio, false, engines(atLeast(0.75), atLeast(0.70)),
		"Each is opened, says a ClientHello, gets an answer of 1200 bytes, asks, gets 500 bytes, and is closed: TLS 1.3 without its arithmetic."},
	{rowConn, "CPU of a connection", "µs", 1e6, difference, false, engines(atMost(35), atMost(40)),
		"Of the whole path: what a connection costs on all processors together."},
	{rowConnOwn, "CPU of a connection in the daemon's process", "µs", 1e6, alone, false, engines(atMost(30), atMost(32)),
		"Soft interrupts that run in its system calls are in it, such as the server's receiving of what is sent."},
	{rowOfTheirs, "Added CPU of a connection, of nfqws's", "", 1, alone, false, both(atMost(0.75)),
		"What a variant adds to plain forwarding, divided by what nfqws adds with the same rules."},
	{rowTLS, "TLS 1.3 connections, 16 clients", "1/s", 1, ratio, false, engines(atLeast(0.75), atLeast(0.70)),
		"With X25519, ECDSA and AES, by crypto/tls at both ends."},
	{rowSteered, "Packets of a TLS connection in user space", "", 1, alone, false, both(atMost(4)), "The hello's packets and one more."},
	{rowP50, "Connect, hello, answer: p50", "µs", 1e6, difference, false, both(atMost(40)),
		"Connections one by one: from the call of connect to the last byte of the answer to the hello."},
	{rowP99, "Connect, hello, answer: p99", "µs", 1e6, difference, false, both(atMost(500)), ""},
	{rowShort, "QUIC behind its handshake", "datagrams/s", 1, ratio, false, nil,
		"One flow whose Initial was treated, datagrams of 1200 bytes with short headers there and back, 32 under way. The kernel carries them."},
	{rowShortCPU, "CPU of a datagram behind the handshake, and its echo", "µs", 1e6, difference, false, nil, ""},
	{rowLong, "QUIC handshakes", "datagrams/s", 1, ratio, false, nil,
		"Flows of an Initial that is treated and 19 datagrams with long headers, all of which user space sees."},
	{rowLongCPU, "CPU of a handshake's datagram, and its echo", "µs", 1e6, difference, false, nil, ""},
	{rowUser, "The daemon's time in user space per packet it sees", "µs", 1e6, alone, false, both(atMost(1)),
		"Of the connections with 16 clients. The share of samples, every 250 µs, of the process's CPU time: by the kernel's own account, at its tick, what runs briefly hardly shows."},
	{rowAllocs, "Allocations per packet it sees", "", 1, alone, false, both(atMost(0.01)),
		"Of the Go runtime, without those that answer the question. None is aimed at; a hundredth is what else happens in a second."},
	{rowGCs, "Garbage collections in 10 s of load", "", 1, alone, true, both(atMost(0)), ""},
	{rowWakes, "Wake-ups of an idle daemon", "1/s", 1, alone, false, both(atMost(2)),
		"Times at which any of its threads has run, those within 20 ms being one."},
	{rowSwitches, "Context switches of an idle daemon", "1/s", 1, alone, false, nil, "All threads'; a wake-up is three or more."},
	{rowPeak, "Peak memory (RSS)", "MB", 1e-6, alone, false, both(atMost(10)), ""},
}
