package lab

import "testing"

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
