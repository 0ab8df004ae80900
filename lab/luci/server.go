package luci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"b4/lab"
)

// Options say what a Server is made of.
type Options struct {
	Source string // a checkout of LuCI
	Theme  string // one of Themes; empty: bootstrap
	App    string // b4's luci-app
	B4D    string // the program; empty: it is built
	Config string // the text of /etc/config/b4; empty: as the package brings it
	Addr   string // to listen on; empty: any port of 127.0.0.1
	Lab    *lab.Lab

	Devices []Device // in the LAN, besides the lab's client
}

// A Device is one that LuCI knows of.
type Device struct{ MAC, Name, Address string }

// A Server is a router's web interface: LuCI's pages and b4's, a bus with the
// objects that they ask, UCI files, and a b4d in the lab's router.
type Server struct {
	URL string // of the server, without a slash at the end

	opts    Options
	theme   *theme
	root    string // the router's files
	host    *lab.Host
	service *service
	uci     *store
	acl     acl
	http    *http.Server
	work    sync.WaitGroup // reloads that are under way
	rpcd    sync.Mutex

	mu      sync.Mutex
	calls   []Call
	plugins bool // rpcd has b4's plugin
}

// The sessions that pages run in.
const (
	fullSession     = "b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4"
	readOnlySession = "b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b5"
)

// New starts a server. b4d runs if its configuration says so.
func New(o Options) (_ *Server, err error) {
	s := &Server{opts: o, plugins: true}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.theme, err = findTheme(o.Theme); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.base(), s.theme.files(o.Source)} {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("look for LuCI: %w", err)
		}
	}
	if s.acl, err = readACL(o.App); err != nil {
		return nil, err
	}
	if s.root, err = os.MkdirTemp("", "b4luci"); err != nil {
		return nil, err
	}
	b4d := o.B4D
	if b4d == "" {
		if b4d, err = Build(o.App, s.root); err != nil {
			return nil, err
		}
	}
	if err := install(s.root, o.App, b4d, o.Config); err != nil {
		return nil, fmt.Errorf("install b4: %w", err)
	}
	if s.host, err = o.Lab.Router.Chroot(s.root); err != nil {
		return nil, err
	}
	s.service = &service{host: s.host, root: s.root}
	s.uci = newStore(filepath.Join(s.root, configDir), s.trigger)
	if s.service.enabled() {
		if err := s.service.start(); err != nil {
			return nil, err
		}
	}
	return s, s.listen()
}

func (s *Server) listen() error {
	addr := s.opts.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.URL = "http://" + ln.Addr().String()
	s.http = &http.Server{Handler: s.routes(), ReadHeaderTimeout: time.Minute}
	go s.http.Serve(ln) // ends with Close
	return nil
}

// Close ends everything, b4d too, and removes the router's files.
func (s *Server) Close() error {
	var errs []error
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if s.http.Shutdown(ctx) != nil {
			errs = append(errs, s.http.Close())
		}
	}
	if s.uci != nil {
		s.uci.close()
	}
	s.work.Wait()
	if s.service != nil {
		errs = append(errs, s.service.stop())
	}
	if s.host != nil {
		errs = append(errs, s.host.Close())
	}
	if s.root != "" {
		errs = append(errs, os.RemoveAll(s.root))
	}
	return errors.Join(errs...)
}

// reloadDelay is procd's, between a change of configuration and what it triggers.
const reloadDelay = time.Second

// trigger does what procd does when a file has changed.
func (s *Server) trigger(config string) {
	if config != "b4" && config != "firewall" && config != "network" {
		return
	}
	s.work.Add(1)
	time.AfterFunc(reloadDelay, func() {
		defer s.work.Done()
		s.service.reload() // procd closes what the script would write to: nobody is told
	})
}

// Config is the text of /etc/config/b4 as it stands.
func (s *Server) Config() (string, error) {
	b, err := os.ReadFile(s.uci.path("b4"))
	return string(b), err
}

// Ask asks b4d itself by its socket, and fails where it refuses.
func (s *Server) Ask(method string, params map[string]any, result any) error {
	answer := ask(filepath.Join(s.root, socketFile), method, params, longPatience)
	if no, is := answer.(refusal); is {
		return fmt.Errorf("ask b4d: %s: %s", method, no.Error)
	}
	return json.Unmarshal(answer.(json.RawMessage), result)
}

// SetPlugin says whether rpcd has b4's plugin.
func (s *Server) SetPlugin(has bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plugins = has
}

func (s *Server) hasPlugin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plugins
}

// hints are the devices of the lab's LAN, as LuCI knows them.
func (s *Server) hints(string, json.RawMessage) (status, any) {
	all := map[string]any{}
	if mac, err := s.opts.Lab.Client.MAC("eth0"); err == nil {
		all[strings.ToUpper(mac.String())] = map[string]any{
			"name": "laptop", "ipaddrs": []string{lab.ClientAddr4.String()}, "ip6addrs": []string{lab.ClientAddr6.String()},
		}
	}
	for _, d := range s.opts.Devices {
		hint := map[string]any{"ipaddrs": []string{d.Address}, "ip6addrs": []string{}}
		if d.Name != "" {
			hint["name"] = d.Name
		}
		all[strings.ToUpper(d.MAC)] = hint
	}
	return ok, all
}

func (s *Server) readLog(_ string, args json.RawMessage) (status, any) {
	var q struct{ Lines int }
	if json.Unmarshal(args, &q) != nil {
		return invalidArgument, nil
	}
	lines := s.service.log()
	if q.Lines > 0 && len(lines) > q.Lines {
		lines = lines[len(lines)-q.Lines:]
	}
	return ok, map[string]any{"log": lines}
}

func (s *Server) listServices(string, json.RawMessage) (status, any) {
	instances := map[string]any{}
	if pid := s.service.PID(); pid != 0 {
		instances["instance1"] = map[string]any{"running": true, "pid": pid, "command": []string{program, "run"}}
	}
	return ok, map[string]any{"b4": map[string]any{"instances": instances}}
}

func (s *Server) listInits(string, json.RawMessage) (status, any) {
	return ok, map[string]any{"b4": map[string]any{"start": 21, "enabled": true, "running": s.service.running()}}
}

func (s *Server) initScript(_ string, args json.RawMessage) (status, any) {
	var q struct{ Name, Action string }
	if json.Unmarshal(args, &q) != nil || q.Name != "b4" {
		return invalidArgument, nil
	}
	var err error
	switch q.Action {
	case "start", "reload":
		err = s.service.reload()
	case "restart":
		if err = s.service.stop(); err == nil {
			err = s.service.reload()
		}
	case "stop":
		err = s.service.stop()
	case "enable", "disable":
	default:
		return invalidArgument, nil
	}
	if err != nil {
		return unknownError, nil
	}
	return ok, nil
}
