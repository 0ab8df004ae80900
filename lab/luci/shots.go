package luci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Pages are the app's, by the last word of their address.
var Pages = []string{overview, "rules", "strategies", "activity", "settings", "log"}

const overview = "overview"

// Path is the address of a page below a server's URL.
func Path(name string) string { return prefix + "admin/services/b4/" + name }

// looks are how each page is shown.
var looks = []struct {
	name, query string
	screen      Screen
}{
	{"light", "?theme=light&lang=en", Desk},
	{"dark", "?theme=dark&lang=en", Desk},
	{"phone", "?theme=light&lang=en", Phone},
	{"phone-dark", "?theme=dark&lang=en", Phone},
	{"ru", "?theme=light&lang=ru", Desk},
	{"fa", "?theme=light&lang=fa", Desk},
	{"phone-fa", "?theme=light&lang=fa", Phone},
}

// A scene is a page, and what is done there before the picture is taken.
type scene struct {
	name, page string
	do         func(p *Page) error
}

// scenes are all pages, and what is to be seen behind some of their buttons.
func scenes() []scene {
	var list []scene
	for _, name := range Pages {
		of := scene{name, name, nil}
		if name == overview {
			of.do = func(p *Page) error { return p.Wait(`/\p{Nd}/u.test(document.querySelector('.b4-value').innerText)`) }
		}
		list = append(list, of)
	}
	return append(list,
		scene{"rules-edit", "rules", func(p *Page) error {
			if err := p.ClickOn("#view tr[data-sid=video] .cbi-button-edit"); err != nil {
				return err
			}
			return p.Wait(`document.querySelector('#modal_overlay .cbi-section')`)
		}},
		scene{"rules-wrong", "rules", func(p *Page) error {
			if err := p.Eval(`document.querySelector('#b4-new').focus()`, nil); err != nil {
				return err
			}
			if err := p.Type("exa*mple..org"); err != nil {
				return err
			}
			if err := p.Press("Enter"); err != nil {
				return err
			}
			return p.Wait(`document.querySelector('#b4-new ~ [role=alert]').innerText`)
		}},
		scene{"rules-test", "rules", func(p *Page) error {
			if err := p.Eval(`document.querySelector('#view [placeholder="www.youtube.com"]').focus()`, nil); err != nil {
				return err
			}
			if err := p.Type("www.blocked.example"); err != nil {
				return err
			}
			if err := p.Press("Enter"); err != nil {
				return err
			}
			return p.Wait(`document.querySelector('#view [aria-live=polite] li')`)
		}},
		scene{"strategies-edit", "strategies", func(p *Page) error {
			if err := p.ClickOn("#view .b4-item:nth-child(2) button"); err != nil {
				return err
			}
			return p.Wait(`document.querySelectorAll('#view .b4-card').length == 3 && document.querySelector('#view svg')`)
		}})
}

// warmUp is how long the client browses before the first picture, so that there is
// something to see, on the charts too.
const warmUp = 70 * time.Second

// Shoot takes pictures of all pages into a directory, as scene-look.png. A page with
// errors, or wider than its screen, is said in the error; its picture is taken.
func Shoot(ctx context.Context, s *Server, dir string) (err error) {
	b, err := StartBrowser()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tabs := map[Screen]*Page{}
	watching := map[Screen]*Page{} // the overview stays open, as it gathers for its charts
	for _, screen := range []Screen{Desk, Phone} {
		if tabs[screen], err = b.NewPage(screen); err != nil {
			return err
		}
		if watching[screen], err = b.NewPage(screen); err != nil {
			return err
		}
		if err := watching[screen].Go(s.URL + Path(overview)); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(warmUp):
	}
	var errs []error
	for _, look := range looks {
		for _, of := range scenes() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			file := filepath.Join(dir, of.name+"-"+look.name+".png")
			tab := tabs[look.screen]
			if of.page == overview {
				tab = watching[look.screen]
			}
			if err := tab.shoot(s.URL+Path(of.page)+look.query, of, file); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", filepath.Base(file), err))
			}
		}
	}
	return errors.Join(errs...)
}

// settle is how long a page may draw before its picture is taken.
const settle = 2 * time.Second

func (p *Page) shoot(url string, of scene, file string) error {
	err := p.Go(url)
	if err == nil && of.do != nil {
		err = of.do(p)
	}
	time.Sleep(settle)
	errs := []error{err, p.Shoot(file)}
	if wrong := p.Errors(); len(wrong) > 0 {
		errs = append(errs, errors.New(strings.Join(wrong, "; ")))
	}
	by, err := p.Overflow()
	if by > 0 {
		err = fmt.Errorf("it is %d pixels wider than the screen", by)
	}
	return errors.Join(append(errs, err)...)
}
