package luci

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A store is rpcd's plugin uci: files in a directory, and of each session the
// changes that it has not applied yet. One call at a time is served, as by rpcd.
type store struct {
	dir     string
	changed func(config string) // called after a file has been written

	mu      sync.Mutex
	pending map[string]map[string][]change // by session and file
	trial   *trial                         // an apply that waits to be confirmed
}

// A trial is an apply with rollback.
type trial struct {
	session string
	files   map[string][]byte   // as they were
	pending map[string][]change // what was applied
	timer   *time.Timer
}

func newStore(dir string, changed func(string)) *store {
	return &store{dir: dir, changed: changed, pending: map[string]map[string][]change{}}
}

func (s *store) path(config string) string { return filepath.Join(s.dir, filepath.Base(config)) }

// load reads a file and applies the session's changes.
func (s *store) load(session, config string) (*file, error) {
	f, err := readFile(s.path(config))
	if err != nil {
		return nil, err
	}
	for _, c := range s.pending[session][config] {
		f.apply(c)
	}
	return f, nil
}

// An edit is one call's work on a file: what it changes counts when it is saved.
type edit struct {
	*file
	store           *store
	session, config string
	changes         []change
}

func (s *store) edit(session, config string) (*edit, error) {
	f, err := s.load(session, config)
	if err != nil {
		return nil, err
	}
	return &edit{file: f, store: s, session: session, config: config}, nil
}

func (e *edit) do(c ...string) {
	e.apply(c)
	e.changes = append(e.changes, c)
}

func (e *edit) save() {
	of := e.store.pending[e.session]
	if of == nil {
		of = map[string][]change{}
		e.store.pending[e.session] = of
	}
	of[e.config] = append(of[e.config], e.changes...)
}

// commit writes a file with the session's changes, and tells of it.
func (s *store) commit(session, config string) error {
	f, err := s.load(session, config)
	if err == nil {
		err = f.write(s.path(config))
	}
	if err != nil {
		return err
	}
	delete(s.pending[session], config)
	s.changed(config)
	return nil
}

// apply commits all that the session has changed. With rollback it is undone
// after the timeout, unless it is confirmed first.
func (s *store) apply(session string, rollback bool, timeout time.Duration) status {
	if s.trial != nil && rollback {
		return permissionDenied
	}
	of := s.pending[session]
	if len(of) == 0 {
		return noData
	}
	t := &trial{session: session, files: map[string][]byte{}, pending: maps.Clone(of)}
	for _, config := range slices.Sorted(maps.Keys(of)) {
		text, err := os.ReadFile(s.path(config))
		if err == nil {
			t.files[config] = text
			err = s.commit(session, config)
		}
		if err != nil {
			return unknownError
		}
	}
	if rollback {
		t.timer = time.AfterFunc(timeout, func() { s.expire(t) })
		s.trial = t
	}
	return ok
}

// expire ends a trial that nobody has confirmed.
func (s *store) expire(t *trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trial == t {
		s.rollback()
	}
}

// rollback puts back what was before the trial.
func (s *store) rollback() error {
	t := s.end()
	var errs []error
	for config, text := range t.files {
		errs = append(errs, os.WriteFile(s.path(config), text, 0o600))
		s.changed(config)
	}
	s.pending[t.session] = t.pending
	return errors.Join(errs...)
}

func (s *store) end() *trial {
	t := s.trial
	t.timer.Stop()
	s.trial = nil
	return t
}

// confirm ends the session's trial for good.
func (s *store) confirm(session string) status {
	switch {
	case s.trial == nil:
		return noData
	case s.trial.session != session:
		return permissionDenied
	}
	s.end()
	return ok
}

// changes are those of a session by file.
func (s *store) changes(session string) map[string][]change {
	all := map[string][]change{}
	for config, list := range s.pending[session] {
		if len(list) > 0 {
			all[config] = list
		}
	}
	return all
}

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trial != nil {
		s.end()
	}
}

// applyBy is LuCI's controller admin/uci (luci-base, controller/admin/uci.uc).
func (s *store) applyBy(session, what string, writes bool) status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !writes {
		return permissionDenied
	}
	switch what {
	case "apply_rollback":
		return s.apply(session, true, rollbackTime)
	case "apply_unchecked":
		for config := range s.changes(session) {
			if err := s.commit(session, config); err != nil {
				return unknownError
			}
		}
		return noData // there is nothing left to apply, and LuCI waits for just that
	case "confirm":
		return s.confirm(session)
	case "revert":
		delete(s.pending, session)
		return ok
	}
	return notFound
}

// rollbackTime is how long LuCI has to confirm what it has applied.
const rollbackTime = 90 * time.Second

// pendingOf is changes for those who do not hold the lock.
func (s *store) pendingOf(session string) map[string][]change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes(session)
}
