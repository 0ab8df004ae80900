package luci

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// browse has the client open connections until the test ends.
func (v *visitor) browse() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); Browse(ctx, v.l, 50*time.Millisecond) }()
	v.Cleanup(func() { cancel(); <-done })
}

// Each page is drawn, and polls, without an error on the console, in each language
// and on each screen; it calls nothing that its ACL does not list, and a phone need
// not scroll sideways. Titles that are hostile stay what they are: texts.
func TestPages(t *testing.T) {
	v := visit(t, Example)
	v.browse()
	for _, look := range []struct {
		lang, theme string
		screen      Screen
		wait        time.Duration
	}{
		{"en", "light", Desk, 7 * time.Second}, // longer than pages wait between polls
		{"en", "dark", Phone, 4 * time.Second},
		{"ru", "light", Phone, time.Second},
		{"tr", "light", Phone, time.Second},
		{"zh_Hans", "light", Phone, time.Second},
		{"fa", "light", Phone, time.Second},
		{"fa", "dark", Desk, time.Second},
	} {
		width := "desk"
		if look.screen.Phone {
			width = "phone"
		}
		t.Run(fmt.Sprintf("%s-%s-%s", look.lang, look.theme, width), func(t *testing.T) {
			var live sync.WaitGroup
			for _, of := range scenes() {
				w := *v
				w.T = t
				w.open(look.screen)
				live.Add(1)
				go func() {
					defer live.Done()
					err := w.Go(v.s.URL + Path(of.page) + "?lang=" + look.lang + "&theme=" + look.theme)
					if err == nil && of.do != nil {
						err = of.do(w.Page)
					}
					if err != nil {
						t.Errorf("%s: %v %v", of.name, err, w.Errors())
						return
					}
					time.Sleep(look.wait)
					w.harmless(of.name)
				}()
			}
			live.Wait()
			v.T = t
			v.clean(v.s.Calls())
		})
	}
	v.T = t
}

// harmless fails the test where a page took a text for HTML, is wider than its
// screen, or had an error.
func (v *visitor) harmless(name string) {
	v.Helper()
	var r struct {
		Title string
		Nodes []string
	}
	const look = `({Title: document.title, Nodes: [...document.querySelectorAll(
		'#view img, #view script, #view iframe, #modal_overlay img, #modal_overlay script')].map(e => e.outerHTML)})`
	if err := v.Eval(look, &r); err != nil {
		v.Errorf("%s: %v", name, err)
		return
	}
	if strings.Contains(r.Title, "PWNED") || !strings.HasPrefix(r.Title, "OpenWrt | ") {
		v.Errorf("%s: the title is %q", name, r.Title)
	}
	if len(r.Nodes) > 0 {
		v.Errorf("%s: a text became %q", name, r.Nodes)
	}
	by, err := v.Overflow()
	if err != nil || by > 0 {
		v.Errorf("%s: %d pixels wider than the screen: %v", name, by, err)
	}
	for _, wrong := range v.Errors() {
		v.Errorf("%s: %s", name, wrong)
	}
}

// From right to left the signs of help texts stand to the right of them, and the
// buttons of a dialog in their order, apart from each other.
func TestRightToLeft(t *testing.T) {
	v := visit(t, Example)
	signs := func() {
		t.Helper()
		v.must(v.Wait(`[...document.querySelectorAll('.cbi-value-description:not(:empty)')].filter(e => e.offsetWidth).length > 2`))
		var left []string
		v.must(v.Eval(`[...document.querySelectorAll('.cbi-value-description:not(:empty)')]
			.filter(e => e.offsetWidth && !(parseFloat(getComputedStyle(e, '::before').right) < 0)).map(e => e.innerText)`, &left))
		if len(left) > 0 {
			t.Errorf("not to the right of %q", left)
		}
	}
	v.see("settings?lang=fa")
	signs()
	v.see("rules?lang=fa")
	v.must(v.ClickOn("#view tr[data-sid=video] .cbi-button-edit"))
	signs()
	apart := func(what string) {
		t.Helper()
		var by float64
		v.must(v.Eval(`(list => list[0].left - list[list.length - 1].right)([...document.querySelectorAll(
			'#modal_overlay .button-row > button, #modal_overlay .right > button')].map(e => e.getBoundingClientRect()))`, &by))
		if by < 2 {
			t.Errorf("%s: the first button is %v pixels to the right of the last", what, by)
		}
	}
	apart("a rule")
	v.see("strategies?lang=fa")
	v.must(v.ClickOn("#view .b4-item:nth-child(2) button"))
	v.must(v.ClickOn("#view .b4-editor .b4-tools > button:nth-child(2)"))
	v.must(v.Wait(`document.querySelector('#modal_overlay textarea')`))
	apart("a line to paste")
	v.clean(v.s.Calls())
}

// The browser itself would run what a page takes for HTML: this says that harmless
// would see it.
func TestHarmlessSees(t *testing.T) {
	v := visit(t, enabled)
	v.see("log")
	v.must(v.Eval(fmt.Sprintf(`document.querySelector('#view').insertAdjacentHTML('beforeend', %q)`, Hostile), nil))
	v.must(v.Wait(`document.title == 'PWNED'`))
	var n int
	v.must(v.Eval(`document.querySelectorAll('#view img').length`, &n))
	if n != 1 || len(v.Errors()) == 0 {
		t.Errorf("%d images, and no error of the one that is not there", n)
	}
}

// A hostile name is shown as it is wherever a page shows names.
func TestHostileNames(t *testing.T) {
	v := visit(t, enabled)
	v.browse()
	v.see("activity")
	v.must(v.WaitText("<img src=x onerror="))
	v.must(v.Write("", "Show", "<img"))
	v.must(v.WaitText("1 of "))
	v.harmless("activity")

	v.see("rules")
	v.must(v.WaitText("<img src=x")) // a device
	v.must(v.Write("", "Host", Hostile))
	v.must(v.Click("", "button", "Test"))
	v.must(v.Wait(`document.querySelector('#view .alert-message')`))
	v.must(v.Write("", "New rule for", Hostile))
	v.must(v.Click("", "button", "Add rule"))
	v.must(v.Wait(`[...document.querySelectorAll('#view [role=alert]')].some(e => e.innerText)`))
	v.harmless("rules")

	v.see("log")
	v.must(v.Write("", "Show only lines with", Hostile))
	v.harmless("log")
	v.clean(v.s.Calls())
}

// LuCI's status page has a card of b4 while b4 runs.
func TestStatusCard(t *testing.T) {
	v := visit(t, enabled)
	if _, err := os.Stat(v.s.opts.Source + "/modules/luci-mod-status"); err != nil {
		t.Skip("the checkout of LuCI has no luci-mod-status")
	}
	v.must(v.Go(v.s.URL + prefix + "admin/status/overview"))
	v.must(v.WaitText("Connections opened with"))
	v.harmless("status")
	v.must(v.Click("", "link", "On"))
	v.must(v.WaitText("b4 is on"))
	v.harmless("overview")
}
