package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// worthSqueezing is from which size on a few percent matter.
const worthSqueezing = 1 << 16

// squeezed are streams by the SHA-256 of what they hold: packages for two
// architectures often hold the same files.
var squeezed sync.Map

// deflated returns b as a deflate stream (RFC 1951), the same one every time.
func deflated(b []byte) []byte {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	w.Write(b) // a bytes.Buffer takes everything
	w.Close()
	best := buf.Bytes()
	if len(b) < worthSqueezing {
		return best
	}
	key := sha256.Sum256(b)
	if known, ok := squeezed.Load(key); ok {
		return known.([]byte)
	}
	if small := squeeze(b); len(small) < len(best) {
		best = small
	}
	squeezed.Store(key, best)
	return best
}

// gzipHeader says deflate, no name, no date, best compression, Unix (RFC 1952).
const gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03"

// gzipped returns b as a gzip file without a name or a date in it.
func gzipped(b []byte) []byte {
	out := append([]byte(gzipHeader), deflated(b)...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(b))
	return binary.LittleEndian.AppendUint32(out, uint32(len(b)))
}
