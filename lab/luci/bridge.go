package luci

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net"
	"path/filepath"
	"time"
)

// How long the bridge waits for b4d: rpcd's plugin b4.uc has the same numbers.
const (
	patience     = 3 * time.Second
	longPatience = 8 * time.Second
)

// maxAnswer is the longest answer that the bridge passes on, in bytes.
const maxAnswer = 512 << 10

// Bounds of what the plugin lets pass, in bytes.
const (
	maxHost     = 253
	maxAddress  = 45
	maxMAC      = 17
	maxStrategy = 4096
)

// A method is one of the object luci.b4, as the plugin has it. What it is called with
// is what b4d is asked with.
type method struct {
	asks  string // b4d's method
	limit time.Duration
	takes map[string]func(any) bool // by argument: what fits
	needs []string
	bare  bool           // it may be called with nothing, too
	fills map[string]any // what is asked where it is not given
}

var methods = map[string]method{
	"status":     {asks: "status", limit: patience},
	"counters":   {asks: "counters", limit: patience},
	"recent":     {asks: "recent", limit: patience},
	"strategies": {asks: "strategies", limit: patience},
	"check":      {asks: "check", limit: longPatience},
	"reload":     {asks: "reload", limit: longPatience},
	"test_host": {asks: "test_host", limit: patience, needs: []string{"host"}, takes: map[string]func(any) bool{
		"host": textUpTo(maxHost), "mac": textUpTo(maxMAC), "address": textUpTo(maxAddress), "port": integer(1, 65535),
	}},
	"preview": {asks: "preview", limit: patience, needs: []string{"proto"}, fills: map[string]any{"text": ""}, takes: map[string]func(any) bool{
		"proto": func(v any) bool { return v == "tls" || v == "http" || v == "quic" },
		"text":  func(v any) bool { return v == "" || textUpTo(maxStrategy)(v) },
	}},
	"pause": {asks: "pause", limit: patience, needs: []string{"minutes"}, takes: map[string]func(any) bool{
		"minutes": integer(0, math.MaxInt64),
	}},
	"trace": {asks: "collect", limit: patience, needs: []string{"host", "seconds"}, bare: true, takes: map[string]func(any) bool{
		"host": textUpTo(maxHost), "seconds": integer(0, math.MaxInt64),
	}},
}

// textUpTo tells of texts that are not empty and have at most so many bytes.
func textUpTo(most int) func(any) bool {
	return func(v any) bool {
		s, is := v.(string)
		return is && s != "" && len(s) <= most
	}
}

func integer(least, most int64) func(any) bool {
	return func(v any) bool {
		n, is := v.(json.Number)
		if !is {
			return false
		}
		i, err := n.Int64()
		return err == nil && i >= least && i <= most
	}
}

// params reads what a method is called with; not ok: the plugin refuses it.
func (m method) params(args json.RawMessage) (params map[string]any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(args))
	d.UseNumber()
	if d.Decode(&params) != nil {
		return nil, false
	}
	delete(params, "ubus_rpc_session") // rpcd's own
	for name, v := range params {
		if fits := m.takes[name]; fits == nil || !fits(v) {
			return nil, false
		}
	}
	if m.bare && len(params) == 0 {
		return nil, true
	}
	for _, name := range m.needs {
		if _, is := params[name]; !is {
			return nil, false
		}
	}
	for name, v := range m.fills {
		if _, is := params[name]; !is {
			params[name] = v
		}
	}
	return params, true
}

// bridge is the object luci.b4 as rpcd's plugin gives it: the methods of b4d's
// control socket with their results, or error and running.
func (s *Server) bridge() map[string]function {
	all := map[string]function{}
	for name, m := range methods {
		all[name] = func(_ string, args json.RawMessage) (status, any) {
			params, fit := m.params(args)
			if !fit {
				return invalidArgument, nil
			}
			return ok, ask(filepath.Join(s.root, socketFile), m.asks, params, m.limit)
		}
	}
	return all
}

// refusal is what a page gets where b4d gives no result.
type refusal struct {
	Error   string `json:"error"`
	Running bool   `json:"running"`
}

// ask asks b4d. Its answer is one line.
func ask(socket, method string, params map[string]any, limit time.Duration) any {
	conn, err := net.DialTimeout("unix", socket, limit)
	if err != nil {
		return refusal{"b4d is not running", false}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(limit))
	q := map[string]any{"method": method}
	if len(params) > 0 {
		q["params"] = params
	}
	if json.NewEncoder(conn).Encode(q) != nil {
		return refusal{"b4d does not answer", true}
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxAnswer)).ReadBytes('\n')
	if err != nil {
		return refusal{"b4d does not answer", true}
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  string          `json:"error"`
	}
	switch err := json.Unmarshal(line, &answer); {
	case err != nil:
		return refusal{"b4d does not answer", true}
	case answer.Error != "":
		return refusal{answer.Error, true}
	case len(answer.Result) == 0 || answer.Result[0] != '{':
		return refusal{"b4d gives an answer that means nothing", true}
	}
	return answer.Result
}
