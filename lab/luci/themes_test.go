package luci

import (
	"strings"
	"sync"
	"testing"
)

// The pages are drawn in whatever theme LuCI has, dark too, and the letters of a
// picture can be told from what is behind them where a theme has no colours to lend.
func TestThemes(t *testing.T) {
	v := visit(t, Example)
	for _, name := range Themes(v.s.opts.Source)[1:] { // the first is everywhere else's
		t.Run(name, func(t *testing.T) {
			var err error
			if v.s.theme, err = findTheme(name); err != nil {
				t.Fatal(err)
			}
			var live sync.WaitGroup
			for _, of := range scenes() {
				w := *v
				w.T = t
				w.open(Phone)
				live.Add(1)
				go func() {
					defer live.Done()
					err := w.Go(v.s.URL + Path(of.page) + "?theme=dark")
					if err == nil && of.do != nil {
						err = of.do(w.Page)
					}
					if err != nil {
						t.Errorf("%s: %v", of.name, err)
						return
					}
					if of.name == "strategies-edit" {
						if err := w.Wait(legible); err != nil {
							t.Errorf("%s: %v", of.name, err)
						}
					}
					for _, wrong := range w.Errors() {
						if !strings.Contains(wrong, "/luci-static/resources/cbi/") { // a theme's picture that LuCI has no more
							t.Errorf("%s: %s", of.name, wrong)
						}
					}
				}()
			}
			live.Wait()
		})
	}
}

// legible is true where the letters in a picture are as far from the page's
// background as its other texts.
const legible = `(function() {
	const light = color => color.match(/[\d.]+/g).slice(0, 3).reduce((sum, n) => sum + +n, 0);
	const page = getComputedStyle(document.querySelector('#view')).color;
	return light(getComputedStyle(document.querySelector('.b4-picture svg > text')).fill) == light(page);
})()`
