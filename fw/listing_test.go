package fw

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// listing is what the kernel holds in this namespace, asked over a socket of
// its own.
type listing struct {
	tables, chains, sets, counters []string
	flags                          uint32
	rules                          map[string]int // by chain
}

func inKernel(t testing.TB) listing {
	t.Helper()
	s, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	l := listing{rules: map[string]int{}}
	each := func(typ uint16, f func(ad *netlink.AttributeDecoder)) {
		err := s.dump(request(typ, nil), func(_ uint8, a attrs) error {
			ad, err := netlink.NewAttributeDecoder(a)
			if err != nil {
				return err
			}
			ad.ByteOrder = binary.BigEndian
			for ad.Next() {
				f(ad)
			}
			return ad.Err()
		})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			t.Fatal(err)
		}
	}
	each(unix.NFT_MSG_GETTABLE, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NFTA_TABLE_NAME:
			l.tables = append(l.tables, ad.String())
		case unix.NFTA_TABLE_FLAGS:
			l.flags = ad.Uint32()
		}
	})
	names := func(typ uint16, attr uint16, to *[]string) {
		each(typ, func(ad *netlink.AttributeDecoder) {
			if ad.Type() == attr {
				*to = append(*to, ad.String())
			}
		})
		slices.Sort(*to)
	}
	names(unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_NAME, &l.chains)
	names(unix.NFT_MSG_GETSET, unix.NFTA_SET_NAME, &l.sets)
	names(unix.NFT_MSG_GETOBJ, unix.NFTA_OBJ_NAME, &l.counters)
	each(unix.NFT_MSG_GETRULE, func(ad *netlink.AttributeDecoder) {
		if ad.Type() == unix.NFTA_RULE_CHAIN {
			l.rules[ad.String()]++
		}
	})
	return l
}

// elements counts the live elements of set wan.
func elements(t testing.TB, s *socket) int {
	t.Helper()
	n := 0
	get := request(unix.NFT_MSG_GETSETELEM, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.NFTA_SET_ELEM_LIST_SET, wanSet)
	})
	err := s.dump(get, func(_ uint8, a attrs) error {
		ad, err := netlink.NewAttributeDecoder(a)
		if err != nil {
			return err
		}
		for ad.Next() {
			if ad.Type() == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				ad.Nested(func(list *netlink.AttributeDecoder) error {
					for list.Next() {
						n++
					}
					return nil
				})
			}
		}
		return ad.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
