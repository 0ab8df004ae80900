package main

import (
	"fmt"

	"b4/lab"
)

// decoyStrategy is for a censor that reassembles TCP, which no order of the
// segments deceives: a decoy goes ahead, with another name and too few hops left
// to reach the server.
func decoyStrategy(ttl int) string {
	return fmt.Sprintf("fake(ttl=%d) split(midsld) disorder", ttl)
}

// What is done for the same name to plain requests, and to QUIC, which engine tun
// does not see.
const (
	httpStrategy = "hostcase split(midsld) disorder"
	quicStrategy = "option quic 'split(midsld) disorder'"
)

// Rules of the file, by name.
const (
	ruleHard = "hard"
	ruleAll  = "all" // with the strategy that b4 ships as default
)

// config is the UCI file b4d runs with: a given one between rules that come
// first and options that win.
func config(engine string, ttl int, given string) string {
	quic := ""
	if engine == queueEngine {
		quic = quicStrategy
	}
	return fmt.Sprintf(`
config rule '%s'
	list domain '%s'
	option strategy 'other'

%s

config rule '%s'
	option strategy 'default'

config strategy 'other'
	option tls '%s'
	option http '%s'
	%s

config b4 'main'
	option enabled '1'
	option engine '%s'
`, ruleHard, lab.Hard, given, ruleAll, decoyStrategy(ttl), httpStrategy, quic, engine)
}
