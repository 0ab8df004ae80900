package luci

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/lab"
)

// Whoever saves a page without having changed anything changes nothing.
func TestNothingChanged(t *testing.T) {
	v := visit(t, "")
	for _, page := range []string{"rules", "strategies", "settings"} {
		v.see(page)
		v.must(v.Click(".cbi-page-actions", "button", "Save"))
		v.must(v.Wait(`!document.querySelector('.cbi-page-actions .spinning')`))
		if saved := v.s.uci.pendingOf(fullSession); len(saved) != 0 {
			t.Errorf("%s saves %v", page, saved)
		}
		v.clean(v.s.Calls())
	}
}

// What is changed among the settings is in the file, and in force.
func TestSettings(t *testing.T) {
	v := visit(t, enabled)
	v.see("settings")
	v.must(v.ClickOn(`[data-name="ipv6"] input[type=checkbox]`))
	v.must(v.Click("", "link", "Limits"))
	v.must(v.Write("", "Queue length", "2048"))
	v.saveAndApply()
	v.configured("option ipv6 '0'")
	v.configured("option queue_len '2048'")
	v.try("IPv6 is treated", func() error {
		if err := SetCensor(v.l); err != nil {
			return err
		}
		if v.l.Open(lab.Request{Host: lab.Blocked, V6: true, Timeout: time.Second}) == nil {
			return errors.New("the page opens")
		}
		return nil
	})
	v.try("the blocked page", v.opens)
	v.see("settings")
	v.must(v.Wait(`[...document.querySelectorAll('#view input')].some(i => i.value == '2048')`))
	v.clean(v.s.Calls())
}

// Rules can be put in another order by keys alone.
func TestOrder(t *testing.T) {
	v := visit(t, Example)
	v.see("rules")
	list, err := v.All("", "button")
	v.must(err)
	last := -1
	for i, e := range list {
		if e.Name == "Move up" {
			last = i
		}
	}
	v.must(list[last].Focus())
	v.must(v.Press(" "))
	v.must(v.Press(" ")) // the button has kept the focus
	v.saveAndApply()
	want := []string{"bank", "video", "all", "tv", "ads"}
	v.inOrder(want...)
	if v.Clicks != 1 {
		t.Errorf("%d clicks, want the one on Save & Apply", v.Clicks)
	}
	v.clean(v.s.Calls())
}

// inOrder waits until b4d goes by these rules, in this order.
func (v *visitor) inOrder(want ...string) {
	v.Helper()
	v.try("b4d's rules", func() error {
		var status struct{ Rules []struct{ Name string } }
		err := v.s.Ask("status", nil, &status)
		var got []string
		for _, r := range status.Rules {
			got = append(got, r.Name)
		}
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("they are %v, want %v", got, want)
		}
		return err
	})
}

// One can go through the overview with keys, and switch b4 on.
func TestKeys(t *testing.T) {
	v := visit(t, "")
	v.see("overview")
	for range 40 {
		v.must(v.Press("Tab"))
		var role string
		v.must(v.Eval(`document.activeElement.getAttribute('role') || ''`, &role))
		if role == "switch" {
			v.must(v.Press(" "))
			v.must(v.WaitText("b4 is on"))
			v.must(v.Wait(`document.activeElement.getAttribute('role') == 'switch'`))
			v.clean(v.s.Calls())
			return
		}
	}
	t.Error("the switch is not reached by Tab")
}

// Changes that wait are not applied with the switch unless the user says so.
func TestOtherChanges(t *testing.T) {
	v := visit(t, "")
	v.see("settings")
	v.must(v.ClickOn(`[data-name="ipv6"] input[type=checkbox]`))
	v.must(v.Click(".cbi-page-actions", "button", "Save"))
	v.try("the change waits", func() error {
		if len(v.s.uci.pendingOf(fullSession)) == 0 {
			return fmt.Errorf("none does")
		}
		return nil
	})
	v.see("overview")
	v.must(v.Click("", "switch", "Switch b4 on or off"))
	v.must(v.Click("#modal_overlay", "button", "Cancel"))
	if !strings.Contains(v.config(), "option ipv6 '1'") {
		t.Errorf("it is applied:\n%s", v.config())
	}
	v.must(v.Click("", "switch", "Switch b4 on or off"))
	v.must(v.Click("#modal_overlay", "button", "Apply all of them"))
	v.configured("option ipv6 '0'")
	v.configured("option enabled '1'")
	v.must(v.WaitText("b4 is on"))
	v.clean(v.s.Calls())
}

// A strategy is made: a name, a line that is pasted, a step more, one moved.
func TestNewStrategy(t *testing.T) {
	v := visit(t, enabled)
	v.see("strategies")
	v.must(v.Write("", "Name of a new strategy", "mine"))
	v.must(v.Click("", "button", "Add"))
	v.must(v.Click("", "button", "Paste a line"))
	v.must(v.Write("#modal_overlay", "A line as it was copied", "tls=split(1, midsld) disorder | http=hostcase"))
	v.must(v.ClickOn("#modal_overlay .important"))
	v.must(v.Wait(`document.querySelectorAll('#view .b4-card').length == 2`))
	v.must(v.Click("", "button", "Add step"))
	v.must(v.Wait(`document.querySelectorAll('#view .b4-card').length == 3`))
	v.must(v.Wait(`document.querySelector('#view svg')`)) // the picture of what leaves
	v.saveAndApply()
	v.configured("config strategy 'mine'")
	v.configured("option http 'hostcase'")
	if !strings.Contains(v.config(), "option tls 'split(1, midsld) ") {
		t.Errorf("the file is\n%s", v.config())
	}
	v.must(v.running())
	v.clean(v.s.Calls())
}

// What happens to one host is watched live, without what has the focus losing it, and
// its name gets into a rule that opens it, though there is one that leaves names alone:
// once.
func TestWatch(t *testing.T) {
	v := visit(t, "\nconfig rule 'bank'\n\tlist domain 'bank.example'\n\toption action 'pass'\n"+enabled)
	v.try("the blocked page", v.opens)
	v.see("activity")
	v.must(v.WaitText(lab.Blocked))
	v.must(v.Click("", "button", "Watch"))
	v.must(v.WaitText("Connections to"))
	v.try("the blocked page", v.opens)
	v.must(v.Wait(`document.querySelector('#view ol > li')`))
	end, err := v.Find("#view", "button", "Close")
	v.must(err)
	v.must(end.Focus())
	var seen int
	v.must(v.Eval(`document.querySelectorAll('#view ol > li').length`, &seen))
	v.try("the blocked page", v.opens)
	v.must(v.Wait(fmt.Sprintf(`document.querySelectorAll('#view ol > li').length > %d`, seen)))
	v.must(v.Wait(`document.activeElement.innerText == 'Close'`))
	v.harmless("activity")

	v.must(v.Click("", "button", "Add to a rule"))
	v.must(v.Click("#modal_overlay", "button", "Save"))
	v.must(v.WaitText("Save & Apply to put it in force"))
	loads := v.loaded()
	v.must(v.Click("#view", "button", "Save & Apply"))
	v.must(v.drawn(loads))
	v.configured("list domain '" + lab.Blocked + "'")
	v.must(v.inForce("blocked"))
	v.must(v.WaitText(lab.Blocked))
	v.must(v.Click("", "button", "Add to a rule"))
	v.must(v.Click("#modal_overlay", "button", "Save"))
	v.must(v.WaitText(" already."))
	v.clean(v.s.Calls())
}
