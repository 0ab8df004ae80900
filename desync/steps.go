package desync

// prepaid is why shifting steps are refused: every later byte of the connection
// would have another sequence number.
const prepaid = "lengthens the stream and needs a pre-paid handshake, which this version does not make"

func (pr Proto) specs() []spec {
	if pr == QUIC {
		return quicSpecs()
	}
	return specs()
}

// specs is every word of the language, in the order help shows it.
func specs() []spec {
	return []spec{
		{name: "split", parse: parseSplit},
		{name: "disorder", parse: parseDisorder},
		{name: "seqovl", once: true, parse: parseSeqovl},
		{name: "fake", parse: parseFake},
		{name: "rst", parse: parseRST},
		{name: "tlsrec", refuse: prepaid},
		{name: "oob", refuse: prepaid},
		{name: "ipid", packet: true, parse: parseIPID},
		{name: "ipfrag", packet: true, once: true, parse: parseIPFrag},
		{name: "dup", packet: true, once: true, parse: parseDup},
	}
}
