package tun

import (
	"io"
	"net/netip"
	"testing"

	"b4/nstest"
)

// BenchmarkKernelForward carries one TCP stream from a device to another, by
// who cuts the superpackets: the kernel before it hands them over, the Cutter,
// or nobody.
func BenchmarkKernelForward(b *testing.B) {
	for _, by := range []string{"kernel", "cutter", "nobody"} {
		b.Run(by, func(b *testing.B) {
			from, to := nstest.NewSpace(b), nstest.NewSpace(b)
			da := openIn(b, from, DeviceConfig{Name: "a", Queue: 5000, Plain: by == "kernel", Addrs: []netip.Prefix{net4}})
			db := openIn(b, to, DeviceConfig{Name: "b", Queue: 5000, Plain: by == "kernel", Addrs: []netip.Prefix{netip.PrefixFrom(far4, 24)}})
			go pump(b, da, func(h Header, p []byte) error {
				if by == "cutter" && h.Super() {
					return writeCut(db, &h, p)
				}
				return db.Write(h, p)
			})
			go pump(b, db, func(h Header, p []byte) error { return da.Write(h, p) })
			client, server := connect(b, from, to, netip.AddrPortFrom(far4, 4430))
			chunk := make([]byte, 1<<20)
			b.SetBytes(int64(len(chunk)))
			b.ResetTimer()
			go func() {
				for range b.N {
					client.Write(chunk)
				}
			}()
			if _, err := io.CopyN(io.Discard, server, int64(b.N)<<20); err != nil {
				b.Fatal(err)
			}
		})
	}
}
