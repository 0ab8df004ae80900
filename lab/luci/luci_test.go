package luci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"b4/lab"
)

const app = "../../luci-app"

// devices are in the lab's LAN besides its client. What they are called is up to
// them.
var devices = []Device{
	{"02:b4:00:00:00:07", "tv", "192.168.1.7"},
	{"02:b4:00:00:00:08", "", "192.168.1.8"},
	{"02:b4:00:00:00:09", Hostile, "192.168.1.9"},
}

// shared is what all tests use: the program and the browser.
var shared struct {
	once    sync.Once
	dir     string
	b4d     string
	browser *Browser
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.browser != nil {
		if err := shared.browser.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close the browser:", err)
			code = 1
		}
	}
	os.RemoveAll(shared.dir)
	os.Exit(code)
}

func prepare() {
	s := &shared
	if s.dir, s.err = os.MkdirTemp("", "b4luci"); s.err != nil {
		return
	}
	root, err := filepath.Abs(app)
	if s.b4d = os.Getenv("B4_B4D"); s.b4d == "" && err == nil {
		s.b4d, err = Build(root, s.dir)
	}
	if err == nil {
		s.browser, err = StartBrowser()
	}
	s.err = err
}

// A visitor is a test at a router's web interface.
type visitor struct {
	*testing.T
	*Page
	s *Server
	l *lab.Lab
}

// visit builds a lab with a censor and serves b4's pages from its router. The
// configuration is the package's where config is empty. A test is skipped, with the
// reason, where there is no LuCI, no browser, or no right to make namespaces.
func visit(t *testing.T, config string) *visitor {
	t.Helper()
	source := os.Getenv("LUCI_SRC")
	if source == "" {
		t.Skip("LUCI_SRC names no checkout of github.com/openwrt/luci")
	}
	if _, err := FindBrowser(); err != nil {
		t.Skip(err)
	}
	if testing.Short() {
		t.Skip("builds network namespaces and starts a browser")
	}
	l, err := lab.New(lab.Options{})
	if errors.Is(err, os.ErrPermission) || errors.Is(err, lab.ErrNoNamespaces) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error("close the lab:", err)
		}
	})
	if shared.once.Do(prepare); shared.err != nil {
		t.Fatal(shared.err)
	}
	root, err := filepath.Abs(app)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Source: source, App: root, B4D: shared.b4d, Config: config, Lab: l, Devices: devices})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error("close the server:", err)
		}
	})
	v := &visitor{T: t, s: s, l: l}
	v.open(Desk)
	if s.service.enabled() {
		v.try("b4d does not answer", func() error { return v.running() })
	}
	return v
}

// open gives the test a new tab.
func (v *visitor) open(screen Screen) {
	v.Helper()
	p, err := shared.browser.NewPage(screen)
	v.must(err)
	v.Page = p
	v.Cleanup(func() {
		if v.Failed() {
			v.picture(p)
		}
		if err := p.Close(); err != nil {
			v.Error("close the tab:", err)
		}
	})
}

// picture keeps what the page looked like where B4_SHOTS names a directory.
func (v *visitor) picture(p *Page) {
	text, _ := p.Text()
	v.Logf("the page says:\n%s", text)
	if dir := os.Getenv("B4_SHOTS"); dir != "" {
		name := strings.ReplaceAll(v.Name(), "/", "-") + ".png"
		v.Log(p.Shoot(filepath.Join(dir, name)))
	}
}

func (v *visitor) must(err error) {
	v.Helper()
	if err != nil {
		v.Fatal(err)
	}
}

// see opens one of the app's pages; its name may have a query behind it.
func (v *visitor) see(page string) {
	v.Helper()
	if err := v.Go(v.s.URL + Path(page)); err != nil {
		v.Fatalf("open %s: %v %v", page, err, v.Errors())
	}
}

// clean fails the test if anything went wrong in the page, or if a page called what
// its login may not.
func (v *visitor) clean(calls []Call) {
	v.Helper()
	for _, wrong := range v.Errors() {
		v.Error("in the page:", wrong)
	}
	for _, c := range calls {
		if c.Failed != "" {
			v.Error("on the bus:", c)
		}
	}
}

// try waits until f does not fail.
func (v *visitor) try(what string, f func() error) {
	v.Helper()
	if err := until(waitLimit, f); err != nil {
		v.Fatalf("%s: %v", what, err)
	}
}

// running asks b4d whether it is there and at work.
func (v *visitor) running() error {
	var status struct{ Engine *struct{ Name string } }
	if err := v.s.Ask("status", nil, &status); err != nil {
		return err
	}
	if status.Engine == nil {
		return errors.New("b4d has no engine")
	}
	return nil
}

// config is the text of /etc/config/b4.
func (v *visitor) config() string {
	v.Helper()
	text, err := v.s.Config()
	v.must(err)
	return text
}

// configured waits until the file says something, as one line does.
func (v *visitor) configured(line string) {
	v.Helper()
	v.try("/etc/config/b4", func() error {
		text, err := v.s.Config()
		if err == nil && !strings.Contains(text, line) {
			err = fmt.Errorf("no %q in:\n%s", line, text)
		}
		return err
	})
}

// opens asks for a blocked page past a fresh censor.
func (v *visitor) opens() error {
	if err := SetCensor(v.l); err != nil {
		return err
	}
	return Opens(v.l, lab.Blocked)
}

// saveAndApply presses LuCI's button and waits until all is applied and the page is
// there again.
func (v *visitor) saveAndApply() {
	v.Helper()
	loads := v.loaded()
	v.must(v.ClickOn(".cbi-page-actions .cbi-button-apply li[selected]"))
	v.must(v.drawn(loads))
	v.s.work.Wait() // b4d is told, and takes its time
}
