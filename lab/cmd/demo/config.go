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

// Rules of the file, by name.
const (
	ruleHard = "hard"
	ruleAll  = "all" // with the strategy that b4 ships as default
)

// config is the UCI file b4d runs with.
func config(engine string, ttl int) string {
	return fmt.Sprintf(`
config b4 'main'
	option enabled '1'
	option engine '%s'

config rule '%s'
	list domain '%s'
	option strategy 'decoy'

config rule '%s'
	option strategy 'default'

config strategy 'decoy'
	option tls '%s'
`, engine, ruleHard, lab.Hard, ruleAll, decoyStrategy(ttl))
}
