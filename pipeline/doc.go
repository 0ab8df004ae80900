// Package pipeline carries a packet from its bytes to a verdict: decode, flow,
// hello, rule, strategy. It is the same for every engine.
package pipeline
