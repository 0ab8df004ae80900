// Package tlshello finds the positions that matter in a TLS ClientHello and
// makes decoy hellos.
package tlshello
