package daemon

import (
	"strings"
	"testing"
)

// Each request is shown where a rule treats or forbids requests, and only there.
func TestEachRequestIsShown(t *testing.T) {
	const domain = enabled + "config rule 'a'\n\tlist domain 'a.example'\n"
	for _, tt := range []struct {
		name, conf string
		want       bool
	}{
		{"hello", domain + "\toption strategy 'split(2)'\n", false},
		{"passed", domain + "\toption action 'pass'\n", false},
		{"request", domain + "\toption strategy 's'\nconfig strategy 's'\n\toption http 'hostcase'\n", true},
		{"forbidden", domain + "\toption action 'drop'\n", true},
		{"all is shown", domain + "\toption action 'drop'\nconfig b4 'main'\n\toption steer 'all'\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, newFake(t), tt.conf)
			r.eventually("rules are there", func() bool { return r.rules() != "" })
			if got := strings.Contains(r.rules(), "ct original bytes"); got != tt.want {
				t.Errorf("shown: %v, want %v:\n%s", got, tt.want, r.rules())
			}
		})
	}
}
