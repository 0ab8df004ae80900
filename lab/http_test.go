package lab

import (
	"errors"
	"testing"
)

// Each of these opens what it opens in the model (docs/MATRIX.md).
func TestHTTPOpens(t *testing.T) {
	client := []Hello{Small}
	rewrites := []string{"hostcase", "hostspell(HOST)", "hostnospace", "methodeol", "unixeol", "methodeol split(midsld) disorder"}
	t.Run("nfqueue", func(t *testing.T) {
		openings(t, "nfqueue", []opening{
			{"iran-2024", HTTP, client, rewrites},
			{"tm-2023", HTTP, client, []string{"split(2)", "split(midsld)", "split(host+1) disorder", "hostcase"}},
			{"in-airtel", HTTP, client, []string{"split(midsld) disorder", "hostcase"}},
			{"tr-2024", HTTP, client, rewrites},
			{"http-rst", HTTP, client, []string{"split(method+2)", "split(host+1) disorder", "ipfrag(32)"}},
			{"http-redirect", HTTP, client, append(rewrites, "split(midsld) disorder")},
			{"http-drop", HTTP, client, []string{"fake(http, ttl=auto)", "fake(http, md5)"}},
		})
	})
	t.Run("tun", func(t *testing.T) {
		openings(t, "tun", []opening{
			{"tr-2024", HTTP, client, rewrites},
			{"http-rst", HTTP, client, []string{"split(method+2)", "split(host+1) disorder", "ipfrag(32)"}},
			{"http-drop", HTTP, client, []string{"fake(http, md5)"}},
		})
	})
}

// Each request of a connection is treated, within the first packets of it that
// the kernel shows b4d.
func TestHTTPAgain(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		launchB4D(t, l, treated(engine, HTTP, "hostcase"))
		l.SetCensor(variant(t, "tm-2023"))
		askers(t, func(t *testing.T, r Request) {
			r.Proto = HTTP
			s := openSession(t, l, r)
			for i := range 4 {
				if err := s.fetch("/bytes?n=100", 100); err != nil {
					t.Errorf("request %d: %v", i+1, err)
				}
			}
		})
		clean(t, l)
	})
}

// However much a plain connection carries, the kernel does it, and it is intact.
func TestHTTPInKernel(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{})
		d := launchB4D(t, l, treated(engine, HTTP, "split(host+1) disorder"))
		const size, most = 8 << 20, 30
		askers(t, func(t *testing.T, r Request) {
			r.Proto = HTTP
			before := mustStatus(t, d)
			if err := errors.Join(l.Download(r, size), send(l, r, size)); err != nil {
				t.Error(err)
			}
			s := mustStatus(t, d)
			n, connections := s.Since(before)
			if n == 0 || n > most*connections || connections != 2 {
				t.Errorf("%d packets of %d connections came to user space", n, connections)
			}
			t.Logf("%d packets of %d connections came to user space", n, connections)
		})
	})
}
