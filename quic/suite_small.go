//go:build !amd64 && !arm64

package quic

// A suite is AES-128-GCM and the cipher of header protection. Small routers have
// no instructions for them, so the standard library's are no faster than ours,
// and would take 66 KB of a package of 1.4 MB.
type suite = softSuite

func sum256(b []byte) [32]byte { return softSum256(b) }
