package luci

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"b4/openwrt/lmo"
)

const prefix = "/cgi-bin/luci/"

// resources is where a page's files are, below the document root.
const resources = "/luci-static/resources"

func (s *Server) base() string {
	return filepath.Join(s.opts.Source, "modules/luci-base/htdocs")
}

// roots are the document roots, the first one wins.
func (s *Server) roots() []string {
	return []string{
		filepath.Join(s.opts.App, "htdocs"), s.base(), s.theme.files(s.opts.Source),
		filepath.Join(s.opts.Source, "modules/luci-mod-status/htdocs"),
	}
}

// routes are what uhttpd serves.
func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /ubus/", s.serveUbus)
	m.HandleFunc("POST "+prefix+"admin/ubus/", s.serveUbus)
	m.HandleFunc("GET "+prefix+"admin/menu", s.serveMenu)
	m.HandleFunc("GET "+prefix+"admin/translations/{lang}", s.serveTranslations)
	m.HandleFunc("POST "+prefix+"admin/uci/{what}", s.serveApply)
	m.HandleFunc("POST /cgi-bin/cgi-exec", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"remote_addr": "192.168.1.2", "inbound_interfaces": []string{"lan"}})
	})
	m.HandleFunc("GET "+prefix, s.servePage)
	m.HandleFunc("GET /luci-static/", s.serveFile)
	m.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	m.Handle("GET /", http.RedirectHandler(prefix+"admin/services/b4", http.StatusFound))
	return m
}

func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	for _, root := range s.roots() {
		name := filepath.Join(root, filepath.FromSlash(path.Clean(r.URL.Path)))
		if info, err := os.Stat(name); err == nil && !info.IsDir() {
			http.ServeFile(w, r, name)
			return
		}
	}
	http.NotFound(w, r)
}

// includes are the app's own files in a directory of the document root: LuCI's own
// includes would ask a whole router.
func (s *Server) includes(dir string) []string {
	list := []string{}
	_, below, found := strings.Cut(dir, resources)
	if !found {
		return list
	}
	entries, err := os.ReadDir(filepath.Join(s.opts.App, "htdocs", resources, filepath.FromSlash(path.Clean("/"+below))))
	if err != nil {
		return list
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// A viewer is how a page is asked for: by ?lang=, ?theme= and ?login=, which cookies
// then keep.
type viewer struct{ lang, theme, login string }

func viewerOf(w http.ResponseWriter, r *http.Request) viewer {
	pick := func(name, normal string, allowed ...string) string {
		value := r.URL.Query().Get(name)
		if slices.Contains(allowed, value) {
			http.SetCookie(w, &http.Cookie{Name: "b4_" + name, Value: value, Path: "/"})
			return value
		}
		if c, err := r.Cookie("b4_" + name); err == nil && slices.Contains(allowed, c.Value) {
			return c.Value
		}
		return normal
	}
	return viewer{
		lang:  pick("lang", "en", "en", "ru", "fa", "tr", "zh_Hans"),
		theme: pick("theme", "light", "light", "dark"),
		login: pick("login", "full", "full", "readonly"),
	}
}

func (v viewer) readOnly() bool { return v.login == "readonly" }

func (v viewer) session() string {
	if v.readOnly() {
		return readOnlySession
	}
	return fullSession
}

func (s *Server) serveMenu(w http.ResponseWriter, r *http.Request) {
	menu, err := readMenu(s.opts.App, s.acl, viewerOf(w, r).readOnly())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, menu)
}

// page is LuCI's header, view and footer (luci-base, and a theme's own).
var page = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="{{.Lang}}" data-darkmode="{{.Dark}}">
<head><meta charset="utf-8"><title>OpenWrt | {{.Title}} - LuCI</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="{{.Media}}/cascade.css">
{{if .Mobile}}<link rel="stylesheet" media="only screen and (max-device-width: 854px)" href="{{.Media}}/mobile.css">{{end}}
<script src="/cgi-bin/luci/admin/translations/{{.Lang}}"></script>
<script src="/luci-static/resources/cbi.js"></script></head>
<body class="lang_{{.Lang}} logged-in" data-page="{{.Page}}">{{.Before}}
<script src="/luci-static/resources/luci.js"></script>
<script>L = new LuCI({{.Env}});</script>
<div id="view"><div class="spinning">Loading view…</div>
<script>L.require('ui').then(function(ui) { ui.instantiateView({{.View}}); });</script></div>{{.After}}
<script>L.require({{.Menu}})</script></body></html>
`))

// servePage gives the shell of a view.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	v := viewerOf(w, r)
	asked := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, prefix), "/"), "/")
	menu, err := readMenu(s.opts.App, s.acl, v.readOnly())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	shown, n := menu.find(asked)
	if n == nil || n.Action.Type != "view" || !n.Satisfied {
		http.NotFound(w, r)
		return
	}
	media := "/luci-static/" + s.theme.media
	_, err = os.Stat(filepath.Join(s.theme.files(s.opts.Source), media, "mobile.css"))
	env := map[string]any{
		"media": media, "resource": resources, "scriptname": "/cgi-bin/luci",
		"pathinfo": "/" + strings.Join(asked, "/"), "documentroot": "/www", "requestpath": asked, "dispatchpath": shown,
		"pollinterval": 5, "ubuspath": "/ubus/", "sessionid": v.session(), "token": "0", "nodespec": n,
		"apply_rollback": 90, "apply_holdoff": 1, "apply_timeout": 5, "apply_display": 1.5,
	}
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.Header().Set("Cache-Control", "no-store")
	page.Execute(w, map[string]any{ // fails where the browser has gone
		"Lang": v.lang, "Dark": v.theme == "dark", "Title": n.Title, "Page": strings.Join(asked, "-"),
		"Env": env, "View": n.Action.Path, "Media": media, "Mobile": err == nil,
		"Before": s.theme.before, "After": s.theme.after, "Menu": s.theme.menu,
	})
}

// serveTranslations gives the words of a language as a script; English has none.
func (s *Server) serveTranslations(w http.ResponseWriter, r *http.Request) {
	words, err := s.translations(r.PathValue("lang"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	text, err := json.Marshal(words)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/javascript; charset=UTF-8")
	w.Write(append(append([]byte("window.TR="), text...), ';'))
}

// translations are LuCI's own and the app's, by the hash of what they translate.
func (s *Server) translations(lang string) (map[string]string, error) {
	words := map[string]string{}
	if lang != filepath.Base(lang) {
		return words, nil
	}
	for _, name := range []string{
		filepath.Join(s.opts.Source, "modules/luci-base/po", lang, "base.po"), filepath.Join(s.opts.App, "po", lang, "b4.po"),
	} {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var all []lmo.Message
		if err == nil {
			all, err = lmo.Parse(text)
		}
		var table map[string]string
		if err == nil {
			table, err = lmo.Table(all)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		maps.Copy(words, table)
	}
	return words, nil
}

// serveApply is LuCI's controller admin/uci: what Save & Apply asks.
func (s *Server) serveApply(w http.ResponseWriter, r *http.Request) {
	session := viewerOf(w, r).session()
	writes := s.acl.allows(session == readOnlySession, "ubus", "uci", "apply")
	code := s.uci.applyBy(session, r.PathValue("what"), writes)
	if code == ok && r.PathValue("what") == "apply_rollback" {
		writeJSON(w, map[string]string{"token": "0"})
		return
	}
	w.WriteHeader(map[status]int{ok: 200, noData: 204, permissionDenied: 403, notFound: 404, unknownError: 500}[code])
}
