package luci

import (
	"errors"
	"strings"
	"testing"

	"b4/lab"
)

// maxClicks is how many clicks a newcomer may need until the first blocked site
// opens.
const maxClicks = 3

// A newcomer opens the page, clicks, and a site opens that the censor blocked.
func TestEnable(t *testing.T) {
	v := visit(t, "")
	if v.opens() == nil {
		t.Fatal("the censor does not block")
	}
	v.must(v.Go(v.s.URL + prefix + "admin/services/b4"))
	v.must(v.WaitText("b4 is off"))
	v.must(v.Click("", "switch", "Switch b4 on or off"))
	v.try("the blocked page", v.opens)
	v.must(v.WaitText("b4 is on"))
	t.Logf("%d clicks, %d keys", v.Clicks, v.Keys)
	if v.Clicks > maxClicks || v.Keys > 0 {
		t.Errorf("%d clicks and %d keys until the first page opened, want at most %d and none", v.Clicks, v.Keys, maxClicks)
	}
	v.configured("option enabled '1'")
	v.clean(v.s.Calls())

	v.must(v.Click("", "switch", "Switch b4 on or off"))
	v.must(v.WaitText("b4 is off"))
	v.configured("option enabled '0'")
	v.try("b4d is still there", func() error {
		if v.s.service.running() {
			return errors.New("it runs")
		}
		return nil
	})
	if v.opens() == nil {
		t.Error("the page opens without b4")
	}
	v.clean(v.s.Calls())
}

// The pause leaves blocked sites blocked, and ends at a click.
func TestPause(t *testing.T) {
	v := visit(t, enabled)
	v.try("the blocked page", v.opens)
	v.see("overview")
	v.must(v.Click("", "button", "Pause for 10 minutes"))
	v.must(v.WaitText("b4 is paused"))
	if v.opens() == nil {
		t.Error("the page opens while b4 is paused")
	}
	v.must(v.Click("", "button", "Go on"))
	v.must(v.WaitText("b4 is on"))
	v.try("the blocked page", v.opens)
	v.clean(v.s.Calls())
}

// enabled is the package's configuration, switched on, as LuCI writes it.
const enabled = `
config b4 'main'
	option version '1'
	option enabled '1'
	option engine 'auto'
	list tcp_port '443'

config rule 'all'
	option strategy 'default'
	option action 'desync'
`

// A rule is added with the one field, and is in force after Save & Apply.
func TestAddRule(t *testing.T) {
	v := visit(t, strings.Replace(enabled, "\toption strategy 'default'\n\toption action 'desync'", "\toption action 'pass'", 1))
	if v.opens() == nil {
		t.Fatal("the page opens without a rule for it")
	}
	v.see("rules")
	v.must(v.Write("", "New rule for", "https://www."+lab.Blocked+"/a/page"))
	v.must(v.Click("", "button", "Add rule"))
	v.must(v.Click("#modal_overlay", "button", "Save"))
	v.must(v.Wait(`!document.body.classList.contains('modal-overlay-active')`))
	v.saveAndApply()
	v.configured("list domain 'www." + lab.Blocked + "'")
	v.must(v.inForce("blocked"))
	v.clean(v.s.Calls())

	v.must(SetCensor(v.l))
	v.try("the page of the new rule", func() error { return Opens(v.l, "www."+lab.Blocked) })
}

// inForce waits until b4d's status has a rule whose name begins so.
func (v *visitor) inForce(name string) error {
	return until(waitLimit, func() error {
		var status struct{ Rules []struct{ Name string } }
		if err := v.s.Ask("status", nil, &status); err != nil {
			return err
		}
		for _, r := range status.Rules {
			if strings.HasPrefix(r.Name, name) {
				return nil
			}
		}
		return errors.New("b4d has no rule " + name)
	})
}
