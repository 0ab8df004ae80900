package lab

import (
	"fmt"
	"net/netip"
	"testing"

	"b4/control"
)

// A seen is a host of b4d's method recent, as far as it is read here.
type seen struct {
	Host, Proto, Outcome string
	Client, Device       netip.Addr
}

// last is the one that was seen last.
func last(d *B4D) (seen, error) {
	var q struct{ Hosts []seen }
	if err := control.Call(d.Socket, "recent", nil, &q); err != nil {
		return seen{}, err
	}
	if len(q.Hosts) == 0 {
		return seen{}, fmt.Errorf("no host was seen")
	}
	return q.Hosts[0], nil
}

// b4d tells which device was behind a connection that the firewall has given the
// router's address, with either engine, and what became of its message.
func TestRecentDevices(t *testing.T) {
	t.Parallel()
	var (
		wan4, wan6 = netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("2001:db8:f::2")
		both       = Firewall{Masq4: true, Masq6: true}
	)
	type row struct {
		firewall       Firewall
		r              Request
		client, device netip.Addr
	}
	rows := []row{
		{Firewall{Masq4: true, Random: true}, Request{}, wan4, ClientAddr4},
		{both, Request{V6: true}, wan6, ClientAddr6},
		{House, Request{V6: true}, ClientAddr6, ClientAddr6},
		{both, Request{Router: true}, wan4, wan4},
	}
	engines(t, func(t *testing.T, engine string) {
		rows, conf := rows, configure(engine)
		if engine == "nfqueue" {
			conf += "\nconfig rule 'all'\n\toption strategy 's'\n\nconfig strategy 's'\n\toption tls 'split(midsld)'\n\toption quic 'split(midsld)'\n"
			rows = append(rows, row{both, Request{Proto: QUIC}, wan4, ClientAddr4}, row{both, Request{Proto: QUIC, V6: true}, wan6, ClientAddr6})
		}
		for _, row := range rows {
			l := build(t, Options{})
			must(t, l.SetFirewall(row.firewall))
			d := launchB4D(t, l, conf)
			row.r.Host = Blocked
			must(t, l.Open(row.r))
			got, err := last(d)
			must(t, err)
			want := seen{Blocked, row.r.Proto.String(), "opened", row.client, row.device}
			if got != want {
				t.Errorf("%+v: %+v, want %+v", row.r, got, want)
			}
		}
	})
}
