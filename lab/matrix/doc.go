// Package matrix tries every strategy on every model censor in memory: a client
// whose message leaves by the strategy, routers, the censor, more routers, and
// a server that reads as Linux does. It tells who opens whom, and who breaks a
// site that nobody blocks.
package matrix
