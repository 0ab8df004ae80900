package flow

import (
	"encoding/binary"
	"net/netip"

	"b4/packet"
)

// A Key tells flows apart: both addresses, with IPv4 mapped, both ports and the
// protocol, as bytes. It has no pointers, so a table of keys is nothing for the
// garbage collector to walk.
type Key [keyLen]byte

const (
	keyDst   = 16
	keyPorts = 32
	keyProto = 36
	keyLen   = 37
)

// KeyOf is the key of a packet: addresses, ports and protocol; for ICMP the
// echo identifier and the type.
func KeyOf(v *packet.View) (k Key) {
	src, dst := v.Src.Addr().As16(), v.Dst.Addr().As16()
	copy(k[:], src[:])
	copy(k[keyDst:], dst[:])
	binary.BigEndian.PutUint16(k[keyPorts:], v.Src.Port())
	binary.BigEndian.PutUint16(k[keyPorts+2:], v.Dst.Port())
	k[keyProto] = v.Proto
	return k
}

// Reverse is the key of the packets the other way.
func (k Key) Reverse() (r Key) {
	copy(r[:], k[keyDst:keyPorts])
	copy(r[keyDst:], k[:keyDst])
	copy(r[keyPorts:], k[keyPorts+2:keyProto])
	copy(r[keyPorts+2:], k[keyPorts:keyPorts+2])
	r[keyProto] = k[keyProto]
	return r
}

// Src and Dst are the ends of the flow, for display.
func (k *Key) Src() netip.AddrPort { return k.end(0, keyPorts) }

// Dst is the far end.
func (k *Key) Dst() netip.AddrPort { return k.end(keyDst, keyPorts+2) }

func (k *Key) end(addr, port int) netip.AddrPort {
	a := netip.AddrFrom16([16]byte(k[addr:])).Unmap()
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(k[port:]))
}

// Hash is the same number for the same key in every run. All its bits are good.
func (k *Key) Hash() uint64 {
	ports := k[keyPorts:]
	h := uint64(binary.BigEndian.Uint16(ports))<<32 ^ uint64(binary.BigEndian.Uint16(ports[2:]))<<16 ^ uint64(k[keyProto])
	for i := 0; i < keyDst; i += 8 {
		h = mix(h ^ binary.BigEndian.Uint64(k[i:]))
		h = mix(h ^ binary.BigEndian.Uint64(k[keyDst+i:]))
	}
	return h
}

// mix is the finalizer of splitmix64 (Steele, Lea and Flood 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
