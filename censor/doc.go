// Package censor judges packets as known censors do, so that strategies can be
// tried without one. A censor is a Profile of knobs that are independent of
// each other; the numbers in the built-in profiles are published measurements,
// and where one is a guess its comment says so and Variants turns it around.
//
// The package is pure: no sockets, no goroutines, time is passed in and chance
// is seeded. It reads TLS and plain requests over TCP, and QUIC's Initial packets
// of version 1, in both families; everything else passes. How many hops away it
// stands is up to who calls it.
//
// Its readers of TCP streams, hellos, requests and datagrams are its own and
// faulty on purpose: what a censor fails to understand is the model. Sharing the
// parsers that b4 runs on would also give both sides of a test the same bugs.
//
// An Inline is no censor: it puts TCP in order on the way, as normalisers and
// transparent proxies do, and shows what decoys break.
package censor
