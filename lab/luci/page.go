package luci

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// A Screen is what a page is seen on, in CSS pixels.
type Screen struct {
	Width, Height int
	Phone         bool
}

// Screens that pages are tried on.
var (
	Desk  = Screen{1280, 800, false}
	Phone = Screen{375, 800, true}
)

// A Page is a tab with cookies and storage of its own.
type Page struct {
	Clicks, Keys int // what a user would have done so far; Keys counts characters too

	browser          *Browser
	context, session string
	target           string
	screen           Screen

	mu    sync.Mutex
	wrong []string
	loads int
}

// NewPage opens a tab.
func (b *Browser) NewPage(screen Screen) (*Page, error) {
	p := &Page{browser: b, screen: screen}
	var context struct{ BrowserContextID string }
	var target struct{ TargetID string }
	var session struct{ SessionID string }
	err := b.call("", "Target.createBrowserContext", args{}, &context)
	if err == nil {
		p.context = context.BrowserContextID
		err = b.call("", "Target.createTarget", args{"url": "about:blank", "browserContextId": p.context}, &target)
	}
	if err == nil {
		p.target = target.TargetID
		err = b.call("", "Target.attachToTarget", args{"targetId": p.target, "flatten": true}, &session)
	}
	if err != nil {
		return nil, err
	}
	p.session = session.SessionID
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "DOM", "Accessibility"} {
		if err := p.call(domain+".enable", args{}, nil); err != nil {
			return nil, err
		}
	}
	return p, p.size(screen.Height)
}

// size makes the screen so high.
func (p *Page) size(height int) error {
	scale := 1
	if p.screen.Phone {
		scale = 2
	}
	return p.call("Emulation.setDeviceMetricsOverride", args{
		"width": p.screen.Width, "height": height, "screenWidth": p.screen.Width, "screenHeight": height,
		"deviceScaleFactor": scale, "mobile": p.screen.Phone,
	}, nil)
}

// Close closes the tab and forgets its cookies.
func (p *Page) Close() error {
	err := p.browser.call("", "Target.disposeBrowserContext", args{"browserContextId": p.context}, nil)
	p.browser.mu.Lock()
	defer p.browser.mu.Unlock()
	delete(p.browser.pages, p.session)
	return err
}

func (p *Page) call(method string, params, result any) error {
	return p.browser.call(p.session, method, params, result)
}

// event takes in what the browser says by itself. It must not wait for an answer.
func (p *Page) event(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Method {
	case "Page.loadEventFired":
		p.loads++
	case "Page.javascriptDialogOpening":
		var e struct{ Message, Type string }
		json.Unmarshal(m.Params, &e)
		p.wrong = append(p.wrong, "dialog "+e.Type+": "+e.Message)
		p.browser.post(p.session, "Page.handleJavaScriptDialog", args{"accept": true})
	case "Runtime.exceptionThrown":
		var e struct {
			ExceptionDetails struct {
				Text      string
				URL       string
				Exception struct{ Description string }
			}
		}
		json.Unmarshal(m.Params, &e)
		p.wrong = append(p.wrong, strings.TrimSpace(e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description))
	case "Runtime.consoleAPICalled":
		var e struct {
			Type string
			Args []struct {
				Value       any
				Description string
			}
		}
		json.Unmarshal(m.Params, &e)
		if e.Type == "error" || e.Type == "assert" {
			p.wrong = append(p.wrong, fmt.Sprintf("console.%s: %+v", e.Type, e.Args))
		}
	case "Log.entryAdded":
		var e struct {
			Entry struct{ Level, Text, URL string }
		}
		json.Unmarshal(m.Params, &e)
		if e.Entry.Level == "error" {
			p.wrong = append(p.wrong, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// Errors returns what went wrong in the page since the last time: exceptions that
// nobody caught, errors on the console, resources that are missing, dialogs.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	wrong := p.wrong
	p.wrong = nil
	return wrong
}

// Eval evaluates an expression, waits for it where it is a promise, and decodes
// its value into result, which may be nil.
func (p *Page) Eval(expression string, result any) error {
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := p.call("Runtime.evaluate", args{"expression": expression, "awaitPromise": true, "returnByValue": true}, &r)
	switch {
	case err != nil:
		return err
	case r.ExceptionDetails != nil:
		return fmt.Errorf("evaluate %s: %s %s", expression, r.ExceptionDetails.Text, r.ExceptionDetails.Exception.Description)
	case result == nil || r.Result.Value == nil:
		return nil
	}
	return json.Unmarshal(r.Result.Value, result)
}

// waitLimit is how long anything in a page may take, on a machine that is busy with
// other things, too.
const waitLimit = 2 * time.Minute

// until tries again and again until f does not fail, or the time is over.
func until(limit time.Duration, f func() error) error {
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := f()
		if err == nil || time.Since(start) > limit {
			return err
		}
	}
}

// Wait waits until an expression is true.
func (p *Page) Wait(expression string) error {
	return until(waitLimit, func() error {
		is := false
		if err := p.Eval("!!("+expression+")", &is); err != nil {
			return err
		}
		if !is {
			return errors.New("never true: " + expression)
		}
		return nil
	})
}

// Go opens an address, and returns when the view has been drawn.
func (p *Page) Go(url string) error {
	var r struct{ ErrorText string }
	loads := p.loaded()
	if err := p.call("Page.navigate", args{"url": url}, &r); err != nil {
		return err
	}
	if r.ErrorText != "" {
		return fmt.Errorf("open %s: %s", url, r.ErrorText)
	}
	return p.drawn(loads)
}

func (p *Page) loaded() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loads
}

// drawn waits for a load that comes after the first loads ones, and for the view.
func (p *Page) drawn(loads int) error {
	err := until(waitLimit, func() error {
		if p.loaded() <= loads {
			return errors.New("the page is not loaded")
		}
		return nil
	})
	if err != nil {
		return err
	}
	var code int
	if err := p.Eval(`performance.getEntriesByType('navigation')[0].responseStatus`, &code); err != nil {
		return err
	}
	if code != 200 {
		return fmt.Errorf("the server answers with status %d", code)
	}
	return p.Wait(`document.querySelector('#view h2, #view h3') && !document.querySelector('#view > .spinning')`)
}

// Text is what can be read in the view, dialogs included.
func (p *Page) Text() (text string, err error) {
	err = p.Eval(`[...document.querySelectorAll('#maincontent, #modal_overlay .modal')].map(e => e.innerText).join('\n')`, &text)
	return text, err
}

// WaitText waits until a text can be read.
func (p *Page) WaitText(want string) error {
	return until(waitLimit, func() error {
		text, err := p.Text()
		if err == nil && !strings.Contains(text, want) {
			err = fmt.Errorf("no %q on the page", want)
		}
		return err
	})
}

// Overflow is by how many pixels the page is wider than the screen.
func (p *Page) Overflow() (by int, err error) {
	err = p.Eval(`document.documentElement.scrollWidth`, &by)
	return by - p.screen.Width, err
}

// Shoot writes a picture of the whole page, as on a screen that is high enough.
func (p *Page) Shoot(file string) error {
	var height int
	if err := p.Eval(`Math.max(document.documentElement.scrollHeight, document.body.scrollHeight)`, &height); err != nil {
		return err
	}
	if err := p.size(max(height, p.screen.Height)); err != nil {
		return err
	}
	var r struct{ Data string }
	err := p.call("Page.captureScreenshot", args{"format": "png"}, &r)
	if err = errors.Join(err, p.size(p.screen.Height)); err != nil {
		return err
	}
	picture, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(file, picture, 0o644)
}
