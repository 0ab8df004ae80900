package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A moduleTree knows the kernel modules of one unpacked kernel package. The
// package carries no modules.dep (its install script makes that), so the
// dependencies are read from the modules.
type moduleTree struct {
	files   map[string]string // name → path of the .ko
	builtin map[string]bool
}

// openModules reads the names below lib/modules/VERSION.
func openModules(dir string) (*moduleTree, error) {
	t := &moduleTree{files: map[string]string{}, builtin: map[string]bool{}}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for _, path := range strings.Fields(string(list)) {
		t.builtin[moduleName(path)] = true
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko") {
			t.files[moduleName(path)] = path
		}
		return err
	})
	return t, err
}

// moduleName is the name the kernel knows a .ko file by.
func moduleName(path string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")
}

// needs returns the modules that must be loaded before name. It returns
// loadable false where name is part of the kernel itself.
func (t *moduleTree) needs(name string) (deps []string, loadable bool, err error) {
	if t.builtin[name] {
		return nil, false, nil
	}
	path, ok := t.files[name]
	if !ok {
		return nil, false, fmt.Errorf("kernel module %s is neither in the package nor built in", name)
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("read module %s: %w", name, err)
	}
	defer f.Close()
	info := f.Section(".modinfo")
	if info == nil {
		return nil, false, fmt.Errorf("read module %s: no .modinfo section", name)
	}
	data, err := info.Data()
	if err != nil {
		return nil, false, fmt.Errorf("read module %s: %w", name, err)
	}
	return parseDepends(data), true, nil
}

// parseDepends finds the line depends=a,b among the NUL-separated lines of a
// .modinfo section.
func parseDepends(info []byte) []string {
	for _, line := range bytes.Split(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(line, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(strings.ReplaceAll(string(list), "-", "_"), ",")
		}
	}
	return nil
}

// loadOrder returns want and all it needs, each once and after what it needs,
// leaving out what is built in. The order of want is kept where it can be.
func loadOrder(want []string, needs func(string) ([]string, bool, error)) ([]string, error) {
	const visiting, done = 1, 2
	state := map[string]int{}
	var order []string
	var visit func(string) error
	visit = func(name string) error {
		switch state[name] {
		case visiting:
			return fmt.Errorf("kernel module %s depends on itself", name)
		case done:
			return nil
		}
		state[name] = visiting
		deps, loadable, err := needs(name)
		if err != nil {
			return err
		}
		for _, dep := range deps {
			if err := visit(dep); err != nil {
				return fmt.Errorf("%w (needed by %s)", err, name)
			}
		}
		state[name] = done
		if loadable {
			order = append(order, name)
		}
		return nil
	}
	for _, name := range want {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}
