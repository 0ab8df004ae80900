package tun

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// An answer's attributes may be any, and it may be cut anywhere.
func TestParseDropped(t *testing.T) {
	message := func(typ uint16, attrs ...[]byte) []byte {
		m := make([]byte, unix.NLMSG_HDRLEN+statsLen)
		binary.NativeEndian.PutUint16(m[4:], typ)
		for _, a := range attrs {
			m = append(m, a...)
		}
		return m
	}
	attr := func(typ uint16, n int) []byte {
		a := make([]byte, 4+n)
		binary.NativeEndian.PutUint16(a, uint16(len(a)))
		binary.NativeEndian.PutUint16(a[2:], typ)
		if n >= atTxDropped+8 {
			binary.NativeEndian.PutUint64(a[4+atTxDropped:], 1<<40+7)
		}
		return a
	}
	whole := message(unix.RTM_NEWSTATS, attr(0, 0), attr(9, 8), attr(unix.IFLA_STATS_LINK_64, 200))
	for name, c := range map[string]struct {
		m  []byte
		ok bool
	}{
		"whole":       {whole, true},
		"no padding":  {message(unix.RTM_NEWSTATS, attr(unix.IFLA_STATS_LINK_64, 64)), true},
		"error":       {message(unix.NLMSG_ERROR, attr(unix.IFLA_STATS_LINK_64, 200)), false},
		"other":       {message(unix.RTM_NEWSTATS, attr(unix.IFLA_STATS_LINK_XSTATS, 200)), false},
		"short":       {message(unix.RTM_NEWSTATS, attr(unix.IFLA_STATS_LINK_64, 63)), false},
		"no length":   {message(unix.RTM_NEWSTATS, make([]byte, 300)), false},
		"no attrs":    {message(unix.RTM_NEWSTATS), false},
		"no message":  {nil, false},
		"half header": {whole[:20], false},
	} {
		if n, ok := parseDropped(c.m); ok != c.ok || ok && n != 1<<40+7 {
			t.Errorf("%s: %d, %v", name, n, ok)
		}
	}
	for i := range whole {
		if _, ok := parseDropped(whole[:i]); ok {
			t.Errorf("cut to %d bytes of %d it is good", i, len(whole))
		}
	}
}
