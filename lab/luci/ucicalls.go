package luci

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"b4/uci"
)

// query is the arguments of all methods of the object uci (rpcd, uci.c).
type query struct {
	Config   string          `json:"config"`
	Section  *string         `json:"section"`
	Option   *string         `json:"option"`
	Options  json.RawMessage `json:"options"`
	Type     *string         `json:"type"`
	Match    map[string]any  `json:"match"`
	Name     *string         `json:"name"`
	Values   ordered         `json:"values"`
	Sections []string        `json:"sections"`
	Rollback bool            `json:"rollback"`
	Timeout  int             `json:"timeout"`
}

// ordered is the members of an object as they stand, as options are written so.
type ordered []member

type member struct {
	name  string
	value any
}

// UnmarshalJSON reads an object and keeps the order of its members.
func (o *ordered) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("want an object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return err
		}
		*o = append(*o, member{name.(string), v})
	}
	return nil
}

var word = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// functions are the methods of the object uci.
func (s *store) functions(a acl) map[string]function {
	side := map[string]string{"get": "read", "state": "read", "changes": "read", "configs": ""}
	all := map[string]func(string, *query) (status, any){
		"get": s.get, "state": s.get, "add": s.add, "set": s.setValues, "delete": s.remove, "rename": s.rename, "order": s.order,
		"changes": func(session string, q *query) (status, any) { return s.listChanges(a, session, q) },
		"revert":  s.revert,
		"commit":  s.commitOne,
		"apply": func(session string, q *query) (status, any) {
			if s.foreign(a, session) {
				return permissionDenied, nil
			}
			return s.apply(session, q.Rollback, time.Duration(q.Timeout)*time.Second), nil
		},
		"confirm": func(session string, _ *query) (status, any) { return s.confirm(session), nil },
		"configs": s.configs,
	}
	functions := map[string]function{}
	for name, f := range all {
		functions[name] = func(session string, args json.RawMessage) (status, any) {
			var q query
			if json.Unmarshal(args, &q) != nil {
				return invalidArgument, nil
			}
			need, reads := side[name]
			if !reads {
				need = "write"
			}
			if q.Config != "" && need != "" && !a.allows(session == readOnlySession, "uci", q.Config, need) {
				return permissionDenied, nil
			}
			if q.Config == "" && !slices.Contains([]string{"changes", "apply", "confirm", "configs"}, name) {
				return invalidArgument, nil
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			return f(session, &q)
		}
	}
	return functions
}

// foreign tells whether a session has changed what it may not write.
func (s *store) foreign(a acl, session string) bool {
	for config := range s.pending[session] {
		if !a.allows(session == readOnlySession, "uci", config, "write") {
			return true
		}
	}
	return false
}

// failure is the code of an error of load.
func failure(err error) status {
	var wrong *uci.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notFound
	case errors.As(err, &wrong):
		return unknownError
	}
	return invalidArgument
}

func (s *store) get(session string, q *query) (status, any) {
	f, err := s.load(session, q.Config)
	if err != nil {
		return failure(err), nil
	}
	if q.Section == nil {
		values := map[string]any{}
		for i, of := range f.sections {
			if of.matches(q) {
				values[of.name] = of.dump(i)
			}
		}
		return ok, map[string]any{"values": values}
	}
	of := f.section(*q.Section)
	if of == nil {
		return notFound, nil
	}
	if q.Option == nil {
		return ok, map[string]any{"values": of.dump(-1)}
	}
	o := of.option(*q.Option)
	if o == nil {
		return notFound, nil
	}
	return ok, map[string]any{"value": o.dump()}
}

// matches is rpc_uci_match_section.
func (s *section) matches(q *query) bool {
	if q.Type != nil && s.typ != *q.Type {
		return false
	}
	for name, want := range q.Match {
		value, err := text(want)
		o := s.option(name)
		if err != nil || o == nil || !slices.Contains(o.values, value) {
			return false
		}
	}
	return true
}

func (s *store) add(session string, q *query) (status, any) {
	if q.Type == nil || q.Name != nil && !word.MatchString(*q.Name) {
		return invalidArgument, nil
	}
	e, err := s.edit(session, q.Config)
	if err != nil {
		return failure(err), nil
	}
	name := ""
	switch {
	case q.Name == nil:
		name = e.newName(*q.Type)
		e.do("add", name, *q.Type)
	default:
		name = *q.Name
		if old := e.section(name); old == nil {
			e.do("set", name, *q.Type)
		}
	}
	for _, m := range q.Values {
		if code := e.merge(name, m); code != ok {
			return code, nil
		}
	}
	e.save()
	return ok, map[string]any{"section": name}
}

func (s *store) setValues(session string, q *query) (status, any) {
	if q.Values == nil || q.Section == nil && q.Type == nil && q.Match == nil {
		return invalidArgument, nil
	}
	return s.each(session, q, func(e *edit, name string) status {
		worst := ok
		for _, m := range q.Values {
			if code := e.merge(name, m); code != ok {
				worst = code
			}
		}
		return worst
	})
}

// each edits the one section that is named, or all that match.
func (s *store) each(session string, q *query, do func(e *edit, name string) status) (status, any) {
	e, err := s.edit(session, q.Config)
	if err != nil {
		return failure(err), nil
	}
	var list []string
	if q.Section != nil {
		list = []string{*q.Section}
	} else {
		for _, of := range e.sections {
			if of.matches(q) {
				list = append(list, of.name)
			}
		}
	}
	if len(list) == 0 {
		return notFound, nil
	}
	for _, name := range list {
		if code := do(e, name); code != ok {
			return code, nil
		}
	}
	e.save()
	return ok, nil
}

// merge is rpc_uci_merge_set.
func (e *edit) merge(section string, m member) status {
	of := e.section(section)
	if of == nil {
		return notFound
	}
	if !word.MatchString(m.name) {
		return invalidArgument
	}
	old := of.option(m.name)
	if list, is := m.value.([]any); is {
		if old != nil {
			e.do("remove", section, m.name)
		}
		for _, v := range list {
			value, err := text(v)
			if err != nil {
				return invalidArgument
			}
			e.do("list-add", section, m.name, value)
		}
		if len(list) == 0 {
			return invalidArgument
		}
		return ok
	}
	value, err := text(m.value)
	if err != nil {
		return invalidArgument
	}
	if old != nil && old.list {
		e.do("remove", section, m.name)
		old = nil
	}
	if old == nil || old.values[0] != value {
		e.do("set", section, m.name, value)
	}
	return ok
}

func (s *store) remove(session string, q *query) (status, any) {
	if q.Section == nil && q.Type == nil && q.Match == nil {
		return invalidArgument, nil
	}
	return s.each(session, q, func(e *edit, name string) status { return e.remove(name, q) })
}

// remove is rpc_uci_merge_delete.
func (e *edit) remove(name string, q *query) status {
	of := e.section(name)
	if of == nil {
		return notFound
	}
	var list []string
	switch {
	case q.Options != nil && string(q.Options) != "null":
		if json.Unmarshal(q.Options, &list) != nil {
			return invalidArgument
		}
	case q.Option != nil:
		list = []string{*q.Option}
	default:
		e.do("remove", name)
		return ok
	}
	code := notFound
	for _, o := range list {
		if of.option(o) != nil {
			e.do("remove", name, o)
			code = ok
		}
	}
	return code
}

func (s *store) rename(session string, q *query) (status, any) {
	if q.Section == nil || q.Name == nil || !word.MatchString(*q.Name) {
		return invalidArgument, nil
	}
	e, err := s.edit(session, q.Config)
	if err != nil {
		return failure(err), nil
	}
	of := e.section(*q.Section)
	switch {
	case of == nil || q.Option != nil && of.option(*q.Option) == nil:
		return notFound, nil
	case q.Option == nil:
		e.do("rename", *q.Section, *q.Name)
	default:
		e.do("rename", *q.Section, *q.Option, *q.Name)
	}
	e.save()
	return ok, nil
}

func (s *store) order(session string, q *query) (status, any) {
	e, err := s.edit(session, q.Config)
	if err != nil {
		return failure(err), nil
	}
	for i, name := range q.Sections {
		of := e.section(name)
		if of == nil {
			return notFound, nil
		}
		if e.sections[i] != of {
			e.do("order", name, strconv.Itoa(i))
		}
	}
	e.save()
	return ok, nil
}

func (s *store) listChanges(a acl, session string, q *query) (status, any) {
	all := s.changes(session)
	if q.Config != "" {
		return ok, map[string]any{"changes": all[q.Config]}
	}
	for config := range all {
		if !a.allows(session == readOnlySession, "uci", config, "read") {
			delete(all, config)
		}
	}
	return ok, map[string]any{"changes": all}
}

func (s *store) revert(session string, q *query) (status, any) {
	if s.trial != nil {
		return permissionDenied, nil
	}
	delete(s.pending[session], q.Config)
	return ok, nil
}

func (s *store) commitOne(session string, q *query) (status, any) {
	if s.trial != nil {
		return permissionDenied, nil
	}
	if err := s.commit(session, q.Config); err != nil {
		return failure(err), nil
	}
	return ok, nil
}

func (s *store) configs(string, *query) (status, any) {
	list := []string{}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return unknownError, nil
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return ok, map[string]any{"configs": list}
}
