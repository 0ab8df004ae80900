package fw

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Counters are packets since Open. A hello that takes another way than the
// handshake (flow offload) shows as Opened and Bare without Queued.
type Counters struct {
	Opened  uint64 `json:"opened"`  // SYNs to a watched port, by a watched device
	Bare    uint64 `json:"bare"`    // then: packets that carry nothing, left alone
	Queued  uint64 `json:"queued"`  // then: packets that were shown to b4d, queued or steered
	QUIC    uint64 `json:"quic"`    // datagrams with a long header, of clients to a watched UDP port: all were shown to b4d
	Blocked uint64 `json:"blocked"` // handshakes of QUIC that were not let out
	Replies uint64 `json:"replies"` // packets of servers that were shown to b4d; by a TUN, not those to the router itself, which count too
}

// Counters reads the table's counters.
func (c *Conn) Counters() (Counters, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s == nil {
		return Counters{}, os.ErrClosed
	}
	var n Counters
	byName := map[string]*uint64{"opened": &n.Opened, "bare": &n.Bare, "queued": &n.Queued, "replies": &n.Replies, "quic": &n.QUIC, "blocked": &n.Blocked}
	err := c.s.dump(request(unix.NFT_MSG_GETOBJ, nil), func(_ uint8, a attrs) error {
		name, count, err := decodeCounter(a)
		if p := byName[name]; p != nil {
			*p = count
		}
		return err
	})
	if err != nil {
		return Counters{}, fmt.Errorf("read counters: %w", err)
	}
	return n, nil
}

// request asks for all objects of a kind in the table.
func request(typ uint16, fill func(*netlink.AttributeEncoder)) []byte {
	b := batch{table: tableName}
	b.add(typ, unix.NLM_F_DUMP, fill, "list")
	return b.buf
}

func decodeCounter(attrs []byte) (name string, packets uint64, err error) {
	ad, err := netlink.NewAttributeDecoder(attrs)
	if err != nil {
		return "", 0, err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_OBJ_NAME:
			name = ad.String()
		case unix.NFTA_OBJ_DATA:
			ad.Nested(func(data *netlink.AttributeDecoder) error {
				for data.Next() {
					if data.Type() == unix.NFTA_COUNTER_PACKETS {
						packets = data.Uint64()
					}
				}
				return nil
			})
		}
	}
	return name, packets, ad.Err()
}
