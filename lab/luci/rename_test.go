package luci

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A strategy gets another name in its place, and the rules that use it take it over:
// all of it in one change. Names that there may not be are refused as they are typed.
func TestRenameStrategy(t *testing.T) {
	v := visit(t, Example)
	v.see("strategies")
	v.must(v.Click("", "button", "Edit strong"))
	for name, says := range map[string]string{
		"default": "The name default is taken.", "tv": "The name tv is taken.", "a b": "A name has letters", "": "A name has letters",
	} {
		v.must(v.Write("", "Name", name))
		if name == "" {
			v.must(v.Press("Backspace"))
		}
		v.must(v.WaitText(says))
		v.must(v.Click(".cbi-page-actions", "button", "Save"))
		v.must(v.Wait(`document.activeElement.id == 'b4-name'`))
	}
	if saved := v.s.uci.pendingOf(fullSession); len(saved) != 0 {
		t.Errorf("something is saved: %v", saved)
	}
	v.must(v.Write("", "Name", "stronger"))
	v.must(v.Write("", "As text", "split(2)"))
	v.must(v.WaitText("Used by the rules: video"))
	v.must(v.Click(".cbi-page-actions", "button", "Save"))
	v.try("the change is saved", func() error {
		if got := len(v.s.uci.pendingOf(fullSession)["b4"]); got != 3 { // the text, the rule, the name
			return fmt.Errorf("%d changes", got)
		}
		return nil
	})
	v.must(v.WaitText("Used by the rules: video"))
	v.saveAndApply()
	want := strings.NewReplacer("'strong'", "'stronger'", "fake(ttl=3) split(1, midsld) disorder", "split(2)").Replace(Example)
	if got := v.config(); strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("the file is:\n%s\nwant:\n%s", got, want)
	}
	v.try("b4d's strategies", func() error {
		if got := v.strategies(); !slices.Equal(got, []string{"default", "stronger", "default", "default", "default"}) {
			return fmt.Errorf("they are %q", got)
		}
		return nil
	})
	v.clean(v.s.Calls())
}

// strategies are those of the rules that b4d goes by, in their order.
func (v *visitor) strategies() (names []string) {
	v.Helper()
	var status struct{ Rules []struct{ Strategy string } }
	v.must(v.s.Ask("status", nil, &status))
	for _, r := range status.Rules {
		names = append(names, r.Strategy)
	}
	return names
}

// Strategies that change names with each other, one that is deleted and its name
// given away, one that is new: each is what it was.
func TestRenameMany(t *testing.T) {
	v := visit(t, enabled+`
config strategy 'a'
	option tls 'split(1)'

config strategy 'b'
	option tls 'split(2)'

config rule 'last'
	list domain 'last.example'
	option strategy 'b'
`)
	rename := func(from, to string) {
		v.must(v.Click("", "button", "Edit "+from))
		v.must(v.Write("", "Name", to))
		v.must(v.Click("", "button", "Close "+to))
	}
	v.see("strategies")
	v.must(v.Click(".b4-item:nth-child(2)", "button", "Delete"))
	rename("b", "a")
	v.must(v.Write("", "Name of a new strategy", "b"))
	v.must(v.WaitText("The name b is taken."))
	v.must(v.Write("", "Name of a new strategy", "c"))
	v.must(v.Click("", "button", "Add"))
	v.must(v.Write("", "As text", "split(3)"))
	v.saveAndApply()
	for _, line := range []string{"config strategy 'a'\n\toption tls 'split(2)'", "config strategy 'c'\n\toption tls 'split(3)'", "option strategy 'a'"} {
		v.configured(line)
	}
	if text := v.config(); strings.Contains(text, "split(1)") || strings.Contains(text, "'b'") {
		t.Errorf("the file is:\n%s", text)
	}
	v.must(v.inForce("last"))
	v.clean(v.s.Calls())
}

// A rule gets another name, and keeps its place. Where something else in it is wrong
// nothing is saved, and a name that was taken back is forgotten.
func TestRenameRule(t *testing.T) {
	v := visit(t, Example)
	v.see("rules")
	edit := func(rule string) { v.must(v.ClickOn("#view tr[data-sid=" + rule + "] .cbi-button-edit")) }
	save := func() {
		v.must(v.Click("#modal_overlay", "button", "Save"))
		v.must(v.Wait(`!document.body.classList.contains('modal-overlay-active')`))
	}
	edit("video")
	v.must(v.Write("#modal_overlay", "Name", "strong"))
	v.must(v.WaitText("The name strong is taken."))
	v.must(v.Write("#modal_overlay", "Name", "films"))
	v.must(v.Write("#modal_overlay", "Ports", "443x"))
	v.must(v.Click("#modal_overlay", "button", "Save"))
	v.must(v.Wait(`!document.querySelector('#modal_overlay .spinning')`))
	if saved := v.s.uci.pendingOf(fullSession); len(saved) != 0 {
		t.Errorf("something is saved: %v", saved)
	}
	v.must(v.Write("#modal_overlay", "Name", "video"))
	v.must(v.Write("#modal_overlay", "Ports", "443"))
	save()
	v.must(v.Wait(`document.querySelector('#view tr[data-sid=video]')`))

	edit("video")
	v.must(v.Write("#modal_overlay", "Name", "films"))
	save()
	v.must(v.Wait(`document.querySelector('#view tr[data-sid=films]')`))
	v.must(v.Write("", "New rule for", "new.example"))
	v.must(v.Click("", "button", "Add rule"))
	v.must(v.Write("#modal_overlay", "Name", "newest"))
	save()
	v.saveAndApply()
	v.inOrder("bank", "films", "tv", "ads", "newest", "all")
	v.clean(v.s.Calls())
}

// A rule that is deleted takes the order of the others with it in no release of LuCI,
// nor does what is cleared in one.
func TestOrderAndDelete(t *testing.T) {
	v := visit(t, Example)
	v.see("rules")
	v.must(v.Click("#view tr[data-sid=ads]", "button", "Move up"))
	v.must(v.Click("#view tr[data-sid=bank]", "button", "Delete"))
	v.must(v.Wait(`!document.querySelector('#view tr[data-sid=bank]')`))
	v.must(v.Click("#view tr[data-sid=all]", "button", "Move up"))
	v.must(v.ClickOn("#view tr[data-sid=tv] .cbi-button-edit"))
	v.must(v.Wait(`document.querySelector('#modal_overlay .item')`))
	v.must(v.Eval(`document.querySelector('#modal_overlay .item').focus()`, nil))
	v.must(v.Press("Backspace"))
	v.must(v.Click("#modal_overlay", "button", "Save"))
	v.must(v.Wait(`!document.body.classList.contains('modal-overlay-active')`))
	v.saveAndApply()
	v.inOrder("video", "ads", "all", "tv")
	if strings.Contains(v.config(), "chat.example") {
		t.Errorf("the name is still there:\n%s", v.config())
	}
	v.clean(v.s.Calls())
}
