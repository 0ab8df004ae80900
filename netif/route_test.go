package netif

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// Builders of netlink messages, for the parsers here and for the kernel in
// kernel_test.go.

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func attr(typ uint16, value ...[]byte) []byte {
	return rtnl.AppendAttr(nil, typ, bytes.Join(value, nil))
}

func datagram(typ uint16, body ...[]byte) []byte {
	return rtnl.AppendMessage(nil, typ, 0, 1, bytes.Join(body, nil))
}

func ifinfo(family uint8, index int32, flags, change uint32) []byte {
	return bytes.Join([][]byte{{family, 0, 0, 0}, u32(uint32(index)), u32(flags), u32(change)}, nil)
}

func rthead(family, dstLen, table, typ uint8, flags uint32) []byte {
	return append([]byte{family, dstLen, 0, 0, table, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, typ}, u32(flags)...)
}

func hop(index int32, flags uint8, attrs ...[]byte) []byte {
	v := bytes.Join(attrs, nil)
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtNexthop+len(v)))
	return append(append(append(b, flags, 0), u32(uint32(index))...), v...)
}

const (
	v4, v6   = unix.AF_INET, unix.AF_INET6
	unicast  = unix.RTN_UNICAST
	newRoute = unix.RTM_NEWROUTE
)

func TestParseRoute(t *testing.T) {
	oif := attr(unix.RTA_OIF, u32(3))
	metric := attr(unix.RTA_PRIORITY, u32(7))
	gateway := attr(unix.RTA_GATEWAY, []byte{192, 0, 2, 1})
	tests := []struct {
		name string
		typ  uint16
		body [][]byte
		want []route
	}{
		{"v4", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0), gateway, oif, metric}, []route{{false, 254, 7, 3}}},
		{"v6", newRoute, [][]byte{rthead(v6, 0, 254, unicast, 0), oif}, []route{{true, 254, 0, 3}}},
		{"v6 for a source prefix", newRoute, [][]byte{{v6, 0, 56, 0, 254, 0, 0, unicast, 0, 0, 0, 0}, attr(unix.RTA_SRC, make([]byte, 16)), oif}, []route{{true, 254, 0, 3}}},
		{"table beyond 255", newRoute, [][]byte{rthead(v4, 0, 252, unicast, 0), attr(unix.RTA_TABLE, u32(1000)), oif}, []route{{false, 1000, 0, 3}}},
		{"carrier off", newRoute, [][]byte{rthead(v4, 0, 254, unicast, unix.RTNH_F_LINKDOWN), oif}, []route{{false, 254, 0, 3}}},
		{"dead", newRoute, [][]byte{rthead(v4, 0, 254, unicast, unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN), oif}, nil},
		{"multipath", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0), metric, attr(unix.RTA_MULTIPATH,
			hop(3, 0, gateway), hop(4, unix.RTNH_F_DEAD), hop(5, unix.RTNH_F_LINKDOWN))}, []route{{false, 254, 7, 3}, {false, 254, 7, 5}}},
		{"multipath ahead of the metric", newRoute, [][]byte{rthead(v6, 0, 254, unicast, 0), attr(unix.RTA_MULTIPATH, hop(4, 0)), metric}, []route{{true, 254, 7, 4}}},
		{"next hop longer than its list", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0), attr(unix.RTA_MULTIPATH, hop(3, 0), []byte{200, 200, 0, 0, 1, 0, 0, 0})}, []route{{false, 254, 0, 3}}},
		{"next hop shorter than its head", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0), attr(unix.RTA_MULTIPATH, make([]byte, 8))}, nil},
		{"not default", newRoute, [][]byte{rthead(v4, 1, 254, unicast, 0), oif}, nil},
		{"blackhole", newRoute, [][]byte{rthead(v4, 0, 254, unix.RTN_BLACKHOLE, 0)}, nil},
		{"unreachable", newRoute, [][]byte{rthead(v6, 0, 254, unix.RTN_UNREACHABLE, 0), attr(unix.RTA_OIF, u32(1))}, nil},
		{"cached", newRoute, [][]byte{rthead(v6, 0, 254, unicast, unix.RTM_F_CLONED), oif}, nil},
		{"MPLS", newRoute, [][]byte{rthead(unix.AF_MPLS, 0, 254, unicast, 0), oif}, nil},
		{"deleted", unix.RTM_DELROUTE, [][]byte{rthead(v4, 0, 254, unicast, 0), oif}, nil},
		{"no device", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0)}, nil},
		{"device of two bytes", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0), attr(unix.RTA_OIF, []byte{1, 1})}, nil},
		{"attribute past the end", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0), oif, {60, 0, 0, 0}}, nil},
		{"attribute below its head", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0), oif, {0, 0, 0, 0}}, nil},
		{"head cut", newRoute, [][]byte{rthead(v4, 0, 254, unicast, 0)[:11]}, nil},
	}
	for _, tt := range tests {
		got := parseRoute(nil, rtnl.Message{Type: tt.typ, Body: bytes.Join(tt.body, nil)})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestParseLink(t *testing.T) {
	name := attr(unix.IFLA_IFNAME, []byte("eth1\x00"))
	tests := []struct {
		name string
		typ  uint16
		body [][]byte
		want []link
	}{
		{"device", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 2, unix.IFF_UP, 0), name, attr(unix.IFLA_MTU, u32(1500))}, []link{{index: 2, name: "eth1"}}},
		{"loopback", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 1, unix.IFF_LOOPBACK, 0), attr(unix.IFLA_IFNAME, []byte("lo"))}, []link{{index: 1, name: "lo", loopback: true}}},
		{"port of a bridge", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 2, 0, 0), name, attr(unix.IFLA_MASTER, u32(7))}, []link{{index: 2, name: "eth1", master: 7}}},
		{"kind", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 2, 0, 0), name, attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED,
			attr(unix.IFLA_INFO_DATA, u32(1)), attr(unix.IFLA_INFO_KIND, []byte("wireguard")))}, []link{{index: 2, name: "eth1", kind: "wireguard"}}},
		{"kind past the end", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 2, 0, 0), name, attr(unix.IFLA_LINKINFO, []byte{90, 0, 1, 0, 't', 'u', 'n', 0})}, []link{{index: 2, name: "eth1"}}},
		{"no name", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 2, 0, 0)}, nil},
		{"no index", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 0, 0, 0), name}, nil},
		{"deleted", unix.RTM_DELLINK, [][]byte{ifinfo(0, 2, 0, 0), name}, nil},
		{"attribute past the end", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 2, 0, 0), name[:8]}, nil},
		{"head cut", unix.RTM_NEWLINK, [][]byte{ifinfo(0, 2, 0, 0)[:15]}, nil},
	}
	for _, tt := range tests {
		got := parseLink(nil, rtnl.Message{Type: tt.typ, Body: bytes.Join(tt.body, nil)})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// FuzzRoutes gives the netlink parsers any datagram: they end, stay inside it,
// and find no device without an index.
func FuzzRoutes(f *testing.F) {
	f.Add(datagram(newRoute, rthead(v4, 0, 254, unicast, 0), attr(unix.RTA_OIF, u32(3)), attr(unix.RTA_PRIORITY, u32(7))))
	f.Add(datagram(newRoute, rthead(v6, 0, 254, unicast, 0), attr(unix.RTA_MULTIPATH, hop(3, 0), hop(4, 16))))
	f.Add(datagram(unix.RTM_NEWLINK, ifinfo(0, 2, 0, 0), attr(unix.IFLA_IFNAME, []byte("eth1\x00"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b):len(b)]
		for len(b) > 0 {
			m, rest, ok := rtnl.CutMessage(b)
			if !ok {
				return
			}
			b = rest
			for _, r := range parseRoute(nil, m) {
				if r.index <= 0 {
					t.Errorf("route without a device: %+v", r)
				}
			}
			for _, l := range parseLink(nil, m) {
				if l.index <= 0 || l.name == "" {
					t.Errorf("device without index or name: %+v", l)
				}
			}
		}
	})
}
