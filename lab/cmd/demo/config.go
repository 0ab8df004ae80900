package main

import (
	"fmt"

	"b4/lab"
)

// The strategies of the demo, as its table shows them. The default is the
// shipped one. A censor that reassembles TCP is not deceived by any order of
// the segments: for it a decoy goes ahead, with another name and too few hops
// left to reach the server.
const defaultStrategy = "split(1, midsld) disorder"

func decoyStrategy(ttl int) string {
	return fmt.Sprintf("fake(ttl=%d) split(midsld) disorder", ttl)
}

// config is the UCI file b4d runs with.
func config(ttl int) string {
	return fmt.Sprintf(`
config b4 'main'
	option enabled '1'

config rule 'hard'
	list domain '%s'
	option strategy 'decoy'

config rule 'all'
	option strategy 'default'

config strategy 'default'
	option tls '%s'

config strategy 'decoy'
	option tls '%s'
`, lab.Hard, defaultStrategy, decoyStrategy(ttl))
}
