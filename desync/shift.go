package desync

// prepaid is why shifting steps are refused: every later byte of the connection
// would have another sequence number. Once they run, their Need says by how many
// bytes the stream grows.
const prepaid = "lengthens the stream and needs a pre-paid handshake, which this version does not make"

var tlsrecSpec = spec{
	name: "tlsrec", in: inTLS, phase: messagePhase, refuse: prepaid,
	help:   "cut the hello into TLS records",
	params: []param{{name: "pos", kind: position, must: true, many: true, help: "where to cut"}},
}

var oobSpec = spec{
	name: "oob", in: inTCP, phase: messagePhase, once: true, refuse: prepaid,
	help:   "put a byte of urgent data into the stream",
	params: []param{{name: "pos", kind: position, must: true, help: "where"}},
}
