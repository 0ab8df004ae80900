package luci

import (
	"strings"
	"testing"
	"time"
)

// The overview calls the devices of rules as LuCI does, whatever that is, and asks for
// it once, within what its first paint may cost.
func TestDevicesNamed(t *testing.T) {
	const few = "config rule 'few'\n\tlist mac '02:b4:00:00:00:07'\n\tlist source '192.168.1.9'\n\tlist domain 'few.example'\n\n"
	v := visit(t, strings.Replace(enabled, "config rule 'all'", few+"config rule 'all'", 1))
	v.s.Calls()
	v.see("overview")
	v.must(v.WaitText("tv 02:b4:00:00:00:07"))
	v.must(v.WaitText("<img src=x"))
	v.must(v.WaitText("192.168.1.9"))
	calls := v.s.Calls()
	if got := own(calls); len(got) > maxFirst {
		t.Errorf("%d calls for the first paint: %v", len(got), got)
	}
	time.Sleep(6 * time.Second) // a poll
	later := v.s.Calls()
	for _, c := range later {
		if c.Method == "getHostHints" {
			t.Errorf("polls %v", c)
		}
	}
	v.harmless("overview")
	v.clean(append(calls, later...))

	v.see("rules")
	v.must(v.Write("", "Host", "few.example"))
	v.must(v.Click("", "button", "Test"))
	v.must(v.Wait(`[...document.querySelectorAll('#view [aria-live=polite] li')].some(e => /other devices \(\W*tv, /.test(e.innerText))`))
	v.clean(v.s.Calls())
}

// Numbers and times are those of LuCI's language, not of the browser's, and no word of
// b4d's is English.
func TestLanguageOfStatus(t *testing.T) {
	v := visit(t, strings.Replace(enabled, "'auto'", "'tun'", 1))
	v.try("the blocked page", v.opens)
	v.see("overview?lang=fa")
	v.must(v.Wait(`/[۰-۹]/.test(document.querySelector('.b4-value').innerText)`))
	var facts string
	v.must(v.Eval(`document.querySelector('.b4-facts').innerText`, &facts))
	for _, word := range []string{"says so", "masqueraded", "routed", "left alone", "down"} {
		if strings.Contains(facts, word) {
			t.Errorf("%q in:\n%s", word, facts)
		}
	}
	if !strings.Contains(facts, "MTU 1500") {
		t.Errorf("no uplink in:\n%s", facts)
	}
	v.clean(v.s.Calls())
}
