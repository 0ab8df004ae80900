package flow

import (
	"encoding/binary"
	"net/netip"

	"b4/packet"
)

// A Key tells flows apart. It has no pointers, so a table of keys is nothing for
// the garbage collector to walk.
type Key struct {
	src, dst     [16]byte
	sport, dport uint16
	proto        uint8
}

// KeyOf is the key of a packet: addresses, ports and protocol; for ICMP the
// echo identifier and the type.
func KeyOf(v *packet.View) Key {
	return Key{v.Src.Addr().As16(), v.Dst.Addr().As16(), v.Src.Port(), v.Dst.Port(), v.Proto}
}

// Reverse is the key of the packets the other way.
func (k Key) Reverse() Key { return Key{k.dst, k.src, k.dport, k.sport, k.proto} }

// Src and Dst are the ends of the flow, for display.
func (k *Key) Src() netip.AddrPort { return addrPort(k.src, k.sport) }

// Dst is the far end.
func (k *Key) Dst() netip.AddrPort { return addrPort(k.dst, k.dport) }

func addrPort(a [16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), port)
}

// Hash is the same number for the same key in every run. All its bits are good.
func (k *Key) Hash() uint64 {
	h := uint64(k.sport)<<32 ^ uint64(k.dport)<<16 ^ uint64(k.proto)
	for i := 0; i < len(k.src); i += 8 {
		h = mix(h ^ binary.BigEndian.Uint64(k.src[i:]))
		h = mix(h ^ binary.BigEndian.Uint64(k.dst[i:]))
	}
	return h
}

// mix is the finalizer of splitmix64 (Steele, Lea and Flood 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
