package luci

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// grant is one side of an access group: per scope what is allowed of what. Scope
// uci lists the files themselves.
type grant map[string]json.RawMessage

// A group is an access group of an acl.d file.
type group struct {
	Description string `json:"description"`
	Read        grant  `json:"read"`
	Write       grant  `json:"write"`
}

// baseACL is what LuCI itself grants everybody who has logged in.
const baseACL = `{
	"unauthenticated": {"read": {"ubus": {"luci": ["getFeatures"], "session": ["access", "login"]}}},
	"luci-base": {
		"read": {"file": {"/": ["list"], "/*": ["list"]}, "ubus": {"file": ["list"], "uci": ["changes", "get"]}, "uci": ["system", "luci"]},
		"write": {"ubus": {"uci": ["add", "apply", "confirm", "delete", "order", "rename", "set"]}}
	}
}`

// An acl is what the login may do: LuCI's own grants and those of the files given.
type acl map[string]group

func readACL(app string) (acl, error) {
	a := acl{}
	if err := json.Unmarshal([]byte(baseACL), &a); err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(app, "root/usr/share/rpcd/acl.d/*.json"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("find the app's ACL below %s: %w", app, missing(err))
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &a)
		}
		if err != nil {
			return nil, fmt.Errorf("read ACL %s: %w", name, err)
		}
	}
	return a, nil
}

func missing(err error) error {
	if err == nil {
		return os.ErrNotExist
	}
	return err
}

// allows tells whether a session may do something: a function of an object of a
// scope (session.c, rpc_session_acl_allowed).
func (a acl) allows(readOnly bool, scope, object, function string) bool {
	for name, g := range a {
		if scope == "access-group" {
			if name == object && (function == "read" && g.Read != nil || function == "write" && g.Write != nil && !readOnly) {
				return true
			}
			continue
		}
		if g.Read.allows(scope, object, function, "read") || !readOnly && g.Write.allows(scope, object, function, "write") {
			return true
		}
	}
	return false
}

func (g grant) allows(scope, object, function, side string) bool {
	var list []string
	if json.Unmarshal(g[scope], &list) == nil {
		return function == side && matches(list, object)
	}
	var objects map[string][]string
	if json.Unmarshal(g[scope], &objects) != nil {
		return false
	}
	for pattern, functions := range objects {
		if matches([]string{pattern}, object) && matches(functions, function) {
			return true
		}
	}
	return false
}

// matches is rpcd's fnmatch.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		is, err := path.Match(p, name)
		return err == nil && is
	})
}
