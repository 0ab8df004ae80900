package censor

import "container/list"

// A table is a map that forgets what was used longest ago.
type table[K comparable, V any] struct {
	m   map[K]*list.Element
	lru list.List // of *entry[K, V], the latest first
	max int
}

type entry[K comparable, V any] struct {
	key K
	val V
}

func newTable[K comparable, V any](max int) table[K, V] {
	return table[K, V]{m: make(map[K]*list.Element), max: max}
}

// get returns what is kept for k, or nil, and counts as use. The pointer is
// valid until the entry is removed.
func (t *table[K, V]) get(k K) *V {
	e := t.m[k]
	if e == nil {
		return nil
	}
	t.lru.MoveToFront(e)
	return &e.Value.(*entry[K, V]).val
}

// put keeps v for k in place of what was there.
func (t *table[K, V]) put(k K, v V) *V {
	if old := t.get(k); old != nil {
		*old = v
		return old
	}
	e := &entry[K, V]{k, v}
	t.m[k] = t.lru.PushFront(e)
	return &e.val
}

// remove forgets k.
func (t *table[K, V]) remove(k K) {
	if e := t.m[k]; e != nil {
		t.lru.Remove(e)
		delete(t.m, k)
	}
}

// oldest returns what was used longest ago.
func (t *table[K, V]) oldest() (k K, v *V, ok bool) {
	e := t.lru.Back()
	if e == nil {
		return k, nil, false
	}
	ent := e.Value.(*entry[K, V])
	return ent.key, &ent.val, true
}

func (t *table[K, V]) len() int   { return len(t.m) }
func (t *table[K, V]) full() bool { return len(t.m) >= t.max }
