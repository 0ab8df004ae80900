package luci

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Without b4d each page says so, and can be used.
func TestDaemonDown(t *testing.T) {
	v := visit(t, enabled)
	v.see("overview")
	v.must(v.WaitText("b4 is on"))
	v.must(v.s.service.Kill())
	v.must(v.WaitText("b4 is switched on and does not run"))
	v.clean(v.s.Calls())

	for page, says := range map[string]string{
		"overview": "b4 is switched on and does not run", "rules": "Rules", "activity": "b4 is not running",
		"strategies": "edited as text only", "settings": "Settings", "log": "started",
	} {
		v.see(page)
		v.must(v.WaitText(says))
		v.clean(v.s.Calls())
	}
	v.see("rules")
	v.must(v.Write("", "Host", "blocked.example"))
	v.must(v.Click("", "button", "Test"))
	v.must(v.WaitText("b4 is not running"))

	v.see("overview") // off and on again is what one tries
	v.must(v.Click("", "switch", "Switch b4 on or off"))
	v.must(v.WaitText("b4 is off"))
	v.must(v.Click("", "switch", "Switch b4 on or off"))
	v.must(v.WaitText("b4 is on"))
	v.try("the blocked page", v.opens)
	v.clean(v.s.Calls())
}

// A b4d that does not answer keeps no page from being used: it says so, and a change
// can be saved.
func TestSlowDaemon(t *testing.T) {
	v := visit(t, enabled)
	v.see("overview")
	v.must(v.WaitText("b4 is on"))
	v.must(v.s.service.Signal(unix.SIGSTOP))
	v.must(v.WaitText("b4d does not answer"))
	v.see("overview")
	v.must(v.WaitText("b4d does not answer"))
	v.clean(v.s.Calls())

	v.see("rules")
	v.must(v.Write("", "New rule for", "slow.example"))
	v.must(v.Click("", "button", "Add rule"))
	v.must(v.Click("#modal_overlay", "button", "Save"))
	v.must(v.Wait(`!document.body.classList.contains('modal-overlay-active')`))
	v.must(v.Click(".cbi-page-actions", "button", "Save"))
	v.try("no change waits", func() error {
		if len(v.s.uci.pendingOf(fullSession)) == 0 {
			return errors.New("none")
		}
		return nil
	})
	v.clean(v.s.Calls())

	v.see("overview")
	v.must(v.s.service.Signal(unix.SIGCONT))
	v.must(v.WaitText("b4 is on"))
	v.clean(v.s.Calls())
}

// What changes several files at once tells of each, and b4d is started once.
func TestReloadsAtOnce(t *testing.T) {
	v := visit(t, "config b4 'main'\n")
	v.must(os.WriteFile(v.s.uci.path("b4"), []byte(enabled), 0o600))
	for _, file := range []string{"b4", "firewall", "network"} {
		v.s.trigger(file)
	}
	v.s.work.Wait()
	v.try("b4d does not answer", v.running)
	for _, l := range v.s.service.log() {
		if strings.Contains(l.Msg, "running") {
			t.Error(l.Msg)
		}
	}
}

// Where rpcd has not got the plugin the pages say that the router does not answer.
func TestNoPlugin(t *testing.T) {
	v := visit(t, enabled)
	v.s.SetPlugin(false)
	for _, page := range []string{"overview", "activity", "strategies"} {
		v.see(page)
		v.must(v.WaitText("The router does not answer"))
		v.clean(nil)
	}
	for _, page := range []string{"rules", "settings", "log"} {
		v.see(page)
		v.clean(nil)
	}
}

// A file that b4d refuses leaves the one before in force, and the overview says why,
// whatever stands in it.
func TestRefused(t *testing.T) {
	v := visit(t, enabled)
	bad := strings.Replace(enabled, "'auto'", "'<img src=x onerror=\"document.title=\\'PWNED\\'\">'", 1)
	bad = strings.ReplaceAll(bad, `\'`, "")
	v.must(os.WriteFile(v.s.uci.path("b4"), []byte(bad), 0o600))
	v.s.trigger("b4")
	v.see("overview")
	v.must(v.WaitText("refused"))
	v.must(v.WaitText("<img src=x"))
	v.harmless("overview")
	v.try("the blocked page", v.opens)
	v.clean(v.s.Calls())
}

// writes are the methods that change something.
var writes = []string{"set", "add", "delete", "order", "rename", "apply", "commit", "revert", "pause", "reload", "trace"}

// A login that may only read is shown all, and no click of it calls what would
// change anything.
func TestReadOnly(t *testing.T) {
	v := visit(t, Example)
	v.browse()
	v.see("overview?login=readonly")
	v.must(v.WaitText("b4 is on"))
	for _, page := range Pages {
		v.see(page)
		time.Sleep(time.Second)
		v.pressAll(page)
		for _, c := range v.s.Calls() {
			if slices.Contains(writes, c.Method) {
				t.Errorf("%s: calls %v", page, c)
			}
			if c.Failed != "" {
				t.Errorf("%s: on the bus: %v", page, c)
			}
		}
		v.clean(nil)
	}
	if got := v.config(); got != Example {
		t.Errorf("the file has changed:\n%s", got)
	}
}

// writing are the beginnings of what buttons are called that change something.
var writing = []string{"Add", "Never touch", "Watch", "Pause", "Go on", "Reload", "Delete", "Duplicate", "Move", "Remove", "Paste", "Save", "Reset"}

// pressAll clicks on all that a page lets one click on. What an earlier click has
// hidden is left out.
func (v *visitor) pressAll(page string) {
	v.Helper()
	pressed := 0
	for _, role := range []string{"switch", "button"} {
		list, err := v.All("#view", role)
		v.must(err)
		for _, e := range list {
			if e.Disabled {
				continue
			}
			begins := func(name string) bool { return strings.HasPrefix(e.Name, name) }
			if role == "switch" || slices.ContainsFunc(writing, begins) {
				v.Errorf("%s: %v can be pressed", page, e)
			}
			if e.Click() != nil {
				continue
			}
			pressed++
			time.Sleep(100 * time.Millisecond) // for what is asked before a dialog opens
			v.must(v.Eval(`L.ui && L.ui.hideModal()`, nil))
		}
	}
	v.Logf("%s: %d controls pressed", page, pressed)
}

// A file that b4d refuses keeps it from starting, and the overview does not wait for
// ever.
func TestRefusedAtStart(t *testing.T) {
	v := visit(t, strings.Replace(enabled, "enabled '1'", "enabled '0'", 1)+"\nconfig rule 'bad'\n\toption strategy 'teleport'\n")
	v.see("overview")
	v.must(v.Click("", "switch", "Switch b4 on or off"))
	v.must(v.WaitText("b4 is switched on and does not run"))
	v.clean(v.s.Calls())

	v.see("rules") // where it can be put right
	v.must(v.ClickOn("#view tr[data-sid=bad] .cbi-button-remove"))
	v.must(v.Wait(`!document.querySelector('#view tr[data-sid=bad]')`)) // LuCI saves at once, and not twice at a time
	v.saveAndApply()
	v.see("overview")
	v.must(v.WaitText("b4 is on"))
	v.clean(v.s.Calls())
}
