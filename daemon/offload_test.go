package daemon

import (
	"strings"
	"testing"

	"b4/fw"
)

// Hellos are hidden while there is a flowtable, with either engine, and what cannot
// be hidden from is told.
func TestOffloadIsFollowed(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"nfqueue", "tun"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			r := start(t, newFake(t), enabled+"\toption engine '"+engine+"'\n")
			hides := func() bool { return strings.Contains(r.rules(), "chain hide {") }
			r.eventually("rules are there", func() bool { return r.rules() != "" })
			if hides() {
				t.Error("hidden from nothing")
			}
			r.set(func() { r.offload = fw.Offloading{Hide: fw.Offload{TCP: true}} })
			r.fwNews <- struct{}{}
			r.eventually("hellos are hidden", hides)
			if h := r.health(); h != "" {
				t.Error(h)
			}
			r.set(func() { r.offload.Hardware, r.offload.By, r.offload.Missed = "inet fw4 ft", "a rule", "spares some" })
			r.fwNews <- struct{}{}
			r.eventually("hardware is told of", func() bool {
				h := r.health()
				return strings.Contains(h, "by hardware (inet fw4 ft)") && strings.Contains(h, "flow_offloading_hw to 0") && strings.Contains(h, "a rule spares some")
			})
			r.set(func() { r.offload, r.fail["offload"] = fw.Offloading{}, true })
			r.fwNews <- struct{}{}
			r.eventually("the failure is told of", func() bool { return !hides() && strings.Contains(r.health(), errBroken.Error()) })
			r.set(func() { r.fail["offload"] = false })
			r.fwNews <- struct{}{}
			r.eventually("all is well", func() bool { return !hides() && r.health() == "" })
		})
	}
}
