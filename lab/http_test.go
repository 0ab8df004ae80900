package lab

import (
	"fmt"
	"testing"
)

// Each of these opens what it opens in the model (docs/MATRIX.md).
func TestHTTPOpens(t *testing.T) {
	t.Parallel()
	client := []Hello{Small}
	rewrites := []string{"hostcase", "hostspell(HOST)", "hostnospace", "methodeol", "unixeol", "methodeol split(midsld) disorder"}
	t.Run("nfqueue", func(t *testing.T) {
		t.Parallel()
		openings(t, "nfqueue", []opening{
			{"iran-2024", HTTP, client, []string{"hostcase", "methodeol"}},
			{"tm-2023", HTTP, client, []string{"split(2)", "split(midsld)", "split(host+1) disorder", "hostcase"}},
			{"in-airtel", HTTP, client, []string{"split(midsld) disorder", "hostcase"}},
			{"tr-2024", HTTP, client, rewrites},
			{"http-rst", HTTP, client, []string{"split(method+2)", "split(host+1) disorder", "ipfrag(32)"}},
			{"http-redirect", HTTP, client, []string{"split(midsld) disorder", "unixeol", "hostspell(HOST)"}},
			{"http-drop", HTTP, client, []string{"fake(http, ttl=auto)", "fake(http, md5)"}},
		})
	})
	t.Run("tun", func(t *testing.T) {
		t.Parallel()
		openings(t, "tun", []opening{
			{"tr-2024", HTTP, client, rewrites[:3]},
			{"http-rst", HTTP, client, []string{"split(method+2)", "split(host+1) disorder", "ipfrag(32)"}},
			{"http-drop", HTTP, client, []string{"fake(http, md5)"}},
		})
	})
}

// Each request of a connection is treated, however long the answers between them.
func TestHTTPAgain(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		launchB4D(t, l, treated(engine, HTTP, "hostcase"))
		l.SetCensor(variant(t, "tm-2023"))
		askers(t, func(t *testing.T, r Request) {
			r.Proto = HTTP
			s := openSession(t, l, r)
			for i, size := range []int64{100, 64 << 10, 100, 1 << 20, 64 << 10, 100} {
				if err := s.fetch(fmt.Sprintf("/bytes?n=%d", size), size); err != nil {
					t.Fatalf("request %d: %v", i+1, err)
				}
			}
		})
		clean(t, l)
	})
}

// However much a plain connection carries, the kernel does it, and it is intact. An
// upload says nothing that ends our part, so that is over by its length.
func TestHTTPInKernel(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		d := launchB4D(t, l, treated(engine, HTTP, "split(host+1) disorder"))
		const size = 16 << 20
		askers(t, func(t *testing.T, r Request) {
			r.Proto = HTTP
			for _, tt := range []struct {
				name  string
				most  uint64
				carry func() error
			}{
				{"download", 10, func() error { return l.Download(r, size) }},
				{"upload", 250, func() error { return send(l, r, size) }},
			} {
				few(t, d, tt.name, tt.most, 1, tt.carry)
			}
		})
	})
}
