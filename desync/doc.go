// Package desync is the strategy language: what happens to a message on its way
// to the wire so that the server reads it and a censor does not.
//
// A strategy is a list of steps, `fake(sni=www.w3.org, ttl=4) split(midsld)
// disorder`. Steps for the handshake stand first and act on the client's SYN or
// the server's answer; stream steps make segments out of the message; packet steps
// stand last and act on the packets those segments become. Every step is pure: it
// works on descriptions, and bytes are written once, at the end.
//
// Each step's file has its row of the language, a spec. The parser reads by these
// rows and help is made of them.
package desync
