package luci

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"b4/lab"
)

// The tester explains step by step what happens to a host, for a device that rules
// know and for one that they do not.
func TestTester(t *testing.T) {
	v := visit(t, Example)
	v.see("rules")
	for _, tt := range []struct{ host, device, want string }{
		{"https://online.bank.example/login", "", "left alone"},
		{"www.blocked.example", "", "fake(sni=www.w3.org, ttl=3)"},
		{"chat.example", "", "it is for other devices"},
		{"chat.example", "02:b4:00:00:00:07", "Rule \u2068tv\u2069 matches"},
	} {
		v.must(v.Eval(`document.querySelector('#view [aria-live=polite]').replaceChildren()`, nil))
		v.must(v.Write("", "Host", tt.host))
		v.must(v.Eval(fmt.Sprintf(`[...document.querySelectorAll('#view select')].filter(s => s.labels[0] && s.labels[0].innerText == 'Device')[0].value = %q`, tt.device), nil))
		v.must(v.Click("", "button", "Test"))
		if err := v.WaitText(tt.want); err != nil {
			t.Errorf("%s for %q: %v", tt.host, tt.device, err)
		}
	}
	v.clean(v.s.Calls())
}

// A strategy is edited as cards and as text. What is wrong is said at its place, and
// nothing of it is saved; what is right is in force after Save & Apply.
func TestStrategy(t *testing.T) {
	v := visit(t, Example)
	v.see("strategies")
	v.must(v.Click("", "button", "Edit strong"))
	v.must(v.Wait(`document.querySelectorAll('#view .b4-card').length == 3`))

	v.must(v.Write("", "As text", "split(1) teleport disorder"))
	v.must(v.WaitText("There is no step teleport."))
	v.must(v.Click(".cbi-page-actions", "button", "Save"))
	v.must(v.Wait(`[...document.querySelectorAll('.alert-message')].some(e => e.innerText.includes('Nothing is saved'))`))
	if n := len(v.s.uci.pendingOf(fullSession)); n != 0 {
		t.Error("a wrong strategy is saved")
	}

	v.must(v.Write("", "As text", "split(2, midsld) disorder"))
	v.must(v.Wait(`document.querySelectorAll('#view .b4-card').length == 2`))
	v.must(v.Click("", "button", "Remove disorder"))
	v.must(v.Wait(`document.querySelectorAll('#view .b4-card').length == 1`))
	v.saveAndApply()
	v.configured("option tls 'split(2, midsld)'")
	v.try("b4d's status", func() error {
		var status struct{ Rules []struct{ Name, TLS string } }
		if err := v.s.Ask("status", nil, &status); err != nil {
			return err
		}
		for _, r := range status.Rules {
			if r.Name == "video" && r.TLS == "split(2, midsld)" {
				return nil
			}
		}
		return fmt.Errorf("b4d has %+v", status.Rules)
	})
	v.clean(v.s.Calls())
}

// Bad values are refused in the forms, each with a word on why, and not saved.
func TestBadValues(t *testing.T) {
	v := visit(t, enabled)
	v.see("settings")
	v.must(v.Click("", "link", "Engine"))
	v.must(v.Write("", "Queue", "70000"))
	v.must(v.Click(".cbi-page-actions", "button", "Save"))
	v.must(v.Wait(`document.querySelector('#view .cbi-input-invalid')`))
	for _, wrong := range v.Errors() { // LuCI's own form throws what it also shows
		if !strings.Contains(wrong, `Option "Queue" contains an invalid input value`) {
			t.Error("in the page:", wrong)
		}
	}

	v.see("rules")
	for _, bad := range []string{"exa_mple..org", "203.0.113.5/33", "*.exa*mple.org", "0.0.0.0/0"} {
		v.must(v.Write("", "New rule for", bad))
		v.must(v.Click("", "button", "Add rule"))
		v.must(v.Wait(`[...document.querySelectorAll('#view [role=alert]')].some(e => e.innerText)`))
		if v.Eval(`if (document.body.classList.contains('modal-overlay-active')) throw 1`, nil) != nil {
			t.Errorf("%q opens the dialog of a rule", bad)
		}
	}
	v.must(v.Click("", "button", "Edit"))
	v.must(v.Write("#modal_overlay", "Ports", "443x"))
	v.must(v.Wait(`document.querySelector('#modal_overlay .cbi-input-invalid')`))
	v.must(v.ClickOn(`#modal_overlay [data-name="strategy"] .cbi-dropdown`))
	v.must(v.Eval(`document.querySelector('#modal_overlay [data-name="strategy"] .create-item-input').focus()`, nil))
	v.must(v.Type("disorder")) // one word is a name to b4d, not the text of a strategy
	v.must(v.Press("Enter"))
	v.must(v.WaitText("There is no strategy disorder."))
	v.must(v.Click("#modal_overlay", "button", "Dismiss"))
	v.must(v.Write("", "Host", "example.org"))
	v.must(v.Write("", "Port", "65536"))
	v.must(v.Click("", "button", "Test"))
	v.must(v.WaitText("Write a port"))

	v.see("strategies")
	v.must(v.Write("", "Name of a new strategy", "no blanks"))
	v.must(v.Click("", "button", "Add"))
	v.must(v.WaitText("A name has letters"))

	if saved := v.s.uci.pendingOf(fullSession); len(saved) != 0 {
		t.Errorf("something is saved: %v", saved)
	}
	if got := v.config(); got != enabled {
		t.Errorf("the file has changed:\n%s", got)
	}
	v.clean(v.s.Calls())
}

// From the list of what was seen, a name gets into a rule.
func TestNeverTouch(t *testing.T) {
	v := visit(t, enabled)
	v.try("the blocked page", v.opens)
	v.see("activity")
	v.must(v.WaitText(lab.Blocked))
	v.must(v.Click("", "button", "Never touch"))
	v.must(v.Click("#modal_overlay", "button", "Save"))
	loads := v.loaded()
	v.must(v.Click("#view", "button", "Save & Apply"))
	v.must(v.drawn(loads))
	v.configured("list domain '" + lab.Blocked + "'")
	v.must(v.inForce("never"))
	v.try("the page is still treated", func() error {
		if v.opens() == nil {
			return errors.New("it opens")
		}
		return nil
	})
	text := v.config()
	if strings.Index(text, "'never'") > strings.Index(text, "rule 'all'") {
		t.Errorf("the rule stands behind the one for all names:\n%s", text)
	}
	v.clean(v.s.Calls())
}
