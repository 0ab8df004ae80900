package luci

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A node is one entry of LuCI's menu (dispatcher.uc, build_pagetree).
type node struct {
	Title     string           `json:"title,omitempty"`
	Order     int              `json:"order,omitempty"`
	Action    *action          `json:"action,omitempty"`
	Depends   *depends         `json:"depends,omitempty"`
	Children  map[string]*node `json:"children,omitempty"`
	Satisfied bool             `json:"satisfied"`
	ReadOnly  bool             `json:"readonly,omitempty"`
}

type action struct {
	Type string `json:"type"`
	Path string `json:"path,omitempty"`
}

type depends struct {
	ACL []string       `json:"acl,omitempty"`
	UCI map[string]any `json:"uci,omitempty"`
}

// baseMenu is what the app's entries hang in.
const baseMenu = `{
	"admin": {"title": "Administration", "order": 10, "action": {"type": "firstchild"}},
	"admin/status": {"title": "Status", "order": 10, "action": {"type": "firstchild"}},
	"admin/status/overview": {"title": "Overview", "order": 1, "action": {"type": "view", "path": "status/index"}},
	"admin/services": {"title": "Services", "order": 40, "action": {"type": "firstchild"}}
}`

// readMenu builds the tree for one kind of session.
func readMenu(app string, a acl, readOnly bool) (*node, error) {
	names, err := filepath.Glob(filepath.Join(app, "root/usr/share/luci/menu.d/*.json"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("find the app's menu below %s: %w", app, missing(err))
	}
	texts := [][]byte{[]byte(baseMenu)}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	root := &node{Satisfied: true, Action: &action{Type: "firstchild"}}
	for _, text := range texts {
		specs := map[string]*node{}
		if err := json.Unmarshal(text, &specs); err != nil {
			return nil, fmt.Errorf("read menu: %w", err)
		}
		for path, spec := range specs {
			root.hang(path, spec)
		}
	}
	root.judge(a, readOnly)
	return root, nil
}

// hang puts an entry in its place.
func (n *node) hang(path string, spec *node) {
	for _, name := range strings.Split(path, "/") {
		if n.Children == nil {
			n.Children = map[string]*node{}
		}
		if n.Children[name] == nil {
			n.Children[name] = &node{Satisfied: true}
		}
		n = n.Children[name]
	}
	n.Title, n.Order, n.Action, n.Depends = spec.Title, spec.Order, spec.Action, spec.Depends
}

// judge says of each entry whether the session may open it and change anything.
func (n *node) judge(a acl, readOnly bool) {
	if n.Depends != nil && len(n.Depends.ACL) > 0 {
		reads, writes := false, false
		for _, group := range n.Depends.ACL {
			reads = reads || a.allows(readOnly, "access-group", group, "read")
			writes = writes || a.allows(readOnly, "access-group", group, "write")
		}
		n.Satisfied, n.ReadOnly = reads || writes, !writes
	}
	for _, c := range n.Children {
		c.judge(a, readOnly)
	}
}

// find follows a path, then aliases and first children, to what is shown. It
// returns the path that this is.
func (n *node) find(path []string) ([]string, *node) {
	root := n
	for steps := 0; steps < 16; steps++ {
		at := root
		for _, name := range path {
			if at = at.Children[name]; at == nil {
				return nil, nil
			}
		}
		if at.Action == nil {
			return nil, nil
		}
		switch at.Action.Type {
		case "alias", "rewrite":
			path = strings.Split(at.Action.Path, "/")
		case "firstchild":
			name := at.first()
			if name == "" {
				return nil, nil
			}
			path = append(path[:len(path):len(path)], name)
		default:
			return path, at
		}
	}
	return nil, nil
}

// first is the child that a firstchild shows.
func (n *node) first() string {
	best := ""
	for name, c := range n.Children {
		if !c.Satisfied || c.Title == "" {
			continue
		}
		b := n.Children[best]
		if b == nil || c.rank() < b.rank() || c.rank() == b.rank() && name < best {
			best = name
		}
	}
	return best
}

func (n *node) rank() int {
	if n.Order == 0 {
		return 1000
	}
	return n.Order
}
