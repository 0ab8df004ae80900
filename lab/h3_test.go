package lab

import "testing"

// Each of these opens what it opens in the model (docs/MATRIX.md).
func TestQUICOpens(t *testing.T) {
	both := []Hello{Small, PostQuantum}
	openings(t, "nfqueue", []opening{
		{"tspu-quic22: leaves fragments", QUIC, both, []string{"ipfrag(32)"}},
		{"tspu-quic25: leaves fragments", QUIC, both, []string{"ipfrag(32)", "split(midsld) disorder ipfrag(32)"}},
		{"tspu-quic25: frames in order", QUIC, both, []string{"split(midsld) disorder", "fake(random) split(midsld) disorder"}},
		{"gfw-quic", QUIC, both, []string{
			"split(midsld) disorder", "fake", "fake(sni=www.allowed.example)", "fake(clone)", "fake(random)", "fake(zero)",
			"fake(clone, ttl=auto)", "fake(badsum)",
		}},
		{"gfw-quic: one frame", QUIC, both, []string{"split(midsld)", "pad(1400) split(midsld)", "split(midsld) udplen(40)"}},
		{"kz", QUIC, both, []string{"ipfrag(32)", "ipfrag(8) ipid(rnd)"}},
	})
}
