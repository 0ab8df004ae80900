// Package pipeline carries a packet from its bytes to a verdict: decode, flow,
// message, rule, strategy. It is the same for every engine.
package pipeline
