// Package quic finds the ClientHello in a client's QUIC Initial packets (RFC
// 9000, 9001, 9369), writes such packets anew with their frames in another order,
// and seals Initial packets of its own.
//
// The keys of Initial packets follow from a connection id that stands in clear
// beside them, so nothing here is secret: what protects an Initial keeps out
// accidents, not readers. That is why this package may bring ciphers of its own
// where the standard library's are too large for a router's flash, and why they
// need not run in constant time.
package quic
