package luci

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"b4/lab"
)

// A status is a code of ubus (libubus, enum ubus_msg_status).
type status int

const (
	ok               status = 0
	invalidArgument  status = 2
	methodNotFound   status = 3
	notFound         status = 4
	noData           status = 5
	permissionDenied status = 6
	unknownError     status = 9
)

// A Call is one call that a page has made.
type Call struct {
	Time           time.Time
	Object, Method string
	Args           string // as JSON
	Took           time.Duration
	Failed         string // what the bus itself answered instead: access denied, no such object
}

func (c Call) String() string {
	return strings.TrimSpace(c.Object + " " + c.Method + " " + c.Args + " " + c.Failed)
}

// request and reply are uhttpd's JSON-RPC (ubus.c of uhttpd).
type request struct {
	JSONRPC string            `json:"jsonrpc"`
	ID      json.RawMessage   `json:"id"`
	Method  string            `json:"method"`
	Params  []json.RawMessage `json:"params"`
}

type reply struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Errors of uhttpd.
var (
	parseError     = &rpcError{-32700, "Parse error"}
	invalidRequest = &rpcError{-32600, "Invalid request"}
	unknownMethod  = &rpcError{-32601, "Method not found"}
	noObject       = &rpcError{-32000, "Object not found"}
	accessDenied   = &rpcError{-32002, "Access denied"}
)

// maxBody is far above what a page sends, in bytes.
const maxBody = 1 << 20

// serveUbus answers one request or a list of them, one after the other.
func (s *Server) serveUbus(w http.ResponseWriter, r *http.Request) {
	var raw json.RawMessage
	var answer any = reply{JSONRPC: "2.0", ID: json.RawMessage("null"), Error: parseError}
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&raw) == nil {
		var one request
		var many []request
		if json.Unmarshal(raw, &many) == nil {
			replies := []reply{}
			for _, q := range many {
				replies = append(replies, s.answer(q))
			}
			answer = replies
		} else if json.Unmarshal(raw, &one) == nil {
			answer = s.answer(one)
		}
	}
	writeJSON(w, answer)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // fails where the browser has gone
}

func (s *Server) answer(q request) reply {
	a := reply{JSONRPC: "2.0", ID: q.ID}
	switch {
	case q.JSONRPC != "2.0" || q.ID == nil:
		a.Error = invalidRequest
	case q.Method == "list":
		a.Result = map[string]any{}
	case q.Method != "call":
		a.Error = unknownMethod
	default:
		a.Result, a.Error = s.call(q.Params)
	}
	return a
}

// call makes one call in the name of a session, and keeps a record of it.
func (s *Server) call(params []json.RawMessage) (any, *rpcError) {
	var session, object, method string
	args := json.RawMessage("{}")
	if len(params) < 3 || json.Unmarshal(params[0], &session) != nil ||
		json.Unmarshal(params[1], &object) != nil || json.Unmarshal(params[2], &method) != nil {
		return nil, invalidRequest
	}
	if len(params) > 3 {
		args = params[3]
	}
	start := time.Now()
	code, data, err := s.invoke(session, object, method, args)
	c := Call{Time: start, Object: object, Method: method, Args: string(args), Took: time.Since(start)}
	if err != nil {
		c.Failed = err.Message
	}
	s.note(c)
	switch {
	case err != nil:
		return nil, err
	case data != nil:
		return []any{code, data}, nil
	}
	return []any{code}, nil
}

// invoke asks the object. rpcd serves one call at a time, and so does this.
func (s *Server) invoke(session, object, method string, args json.RawMessage) (status, any, *rpcError) {
	methods := s.objects()[object]
	if methods == nil {
		return 0, nil, noObject
	}
	if !s.acl.allows(session == readOnlySession, "ubus", object, method) {
		return 0, nil, accessDenied
	}
	f := methods[method]
	if f == nil {
		return methodNotFound, nil, nil
	}
	s.rpcd.Lock()
	defer s.rpcd.Unlock()
	code, data := f(session, args)
	return code, data, nil
}

// A function answers one method. What it returns besides the code is nil or JSON.
type function func(session string, args json.RawMessage) (status, any)

// objects are those that there are on the bus.
func (s *Server) objects() map[string]map[string]function {
	all := map[string]map[string]function{
		"uci":      s.uci.functions(s.acl),
		"session":  {"access": s.access},
		"luci":     {"getFeatures": constant(map[string]any{"ipv6": true, "firewall4": true, "opkg": true})},
		"file":     {"list": s.list},
		"luci-rpc": {"getHostHints": s.hints, "getBoardJSON": constant(map[string]any{})},
		"system":   {"board": constant(board)},
		"log":      {"read": s.readLog},
		"service":  {"list": s.listServices},
		"rc":       {"list": s.listInits, "init": s.initScript},

		"network.interface": {"dump": constant(interfaces)},
	}
	if s.hasPlugin() {
		all["luci.b4"] = s.bridge()
	}
	return all
}

var board = map[string]any{
	"kernel": "6.6.86", "hostname": "OpenWrt", "system": "lab", "model": "Lab router", "board_name": "lab",
	"release": map[string]any{"distribution": "OpenWrt", "version": "24.10.1", "target": "lab/generic", "description": "OpenWrt 24.10.1"},
}

// interfaces are netifd's names of the router's devices.
var interfaces = map[string]any{"interface": []map[string]any{
	{"interface": "loopback", "up": true, "l3_device": "lo", "proto": "static"},
	{"interface": "lan", "up": true, "l3_device": lab.RouterLAN, "proto": "static"},
	{"interface": "wan", "up": true, "l3_device": lab.RouterWAN, "proto": "dhcp"},
}}

func constant(v any) function {
	return func(string, json.RawMessage) (status, any) { return ok, v }
}

// access is what forms ask: session access.
func (s *Server) access(session string, args json.RawMessage) (status, any) {
	var q struct{ Scope, Object, Function string }
	if err := json.Unmarshal(args, &q); err != nil || q.Object == "" {
		return invalidArgument, nil
	}
	if q.Scope == "" {
		q.Scope = "ubus"
	}
	return ok, map[string]any{"access": s.acl.allows(session == readOnlySession, q.Scope, q.Object, q.Function)}
}

// list names the files of a directory of the pages: LuCI looks for its includes so.
func (s *Server) list(_ string, args json.RawMessage) (status, any) {
	var q struct{ Path string }
	if err := json.Unmarshal(args, &q); err != nil {
		return invalidArgument, nil
	}
	entries := []map[string]any{}
	for _, name := range s.includes(q.Path) {
		entries = append(entries, map[string]any{"name": name, "type": "file"})
	}
	return ok, map[string]any{"entries": entries}
}

// note keeps the record of a call.
func (s *Server) note(c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	if over := len(s.calls) - maxCalls; over > 0 {
		s.calls = s.calls[over:]
	}
}

// maxCalls is how many calls are remembered.
const maxCalls = 10000

// Calls returns what pages have called since the last time, oldest first.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// text reads a value of JSON as rpcd writes it into UCI.
func text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		if v {
			return "1", nil
		}
		return "0", nil
	case float64:
		return fmt.Sprintf("%.0f", v), nil
	}
	return "", fmt.Errorf("%T is no value of an option", v)
}
