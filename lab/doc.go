// Package lab builds a small internet out of network namespaces and puts a
// censor on it:
//
//	client ── router ── censor ══ core ── server
//	          NAT, b4d         TUN
//
// Every line is a veth pair except the double one: there a forwarder of our own
// carries packets between two TUN devices. It is several routers in one (TTL,
// ICMP errors, echo), asks a model censor about each packet, and loses, delays
// and reorders by a seeded generator, so that no netem, no tc and no program on
// PATH is needed. All of it lives in namespaces the lab makes for itself and is
// gone when they are.
package lab
