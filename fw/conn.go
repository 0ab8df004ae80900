package fw

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrOwned is wrapped where a running b4d holds the table.
var ErrOwned = errors.New("table inet b4 belongs to a b4d that is running: stop it first")

// tableOwner is NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h.
const tableOwner = 2

// A Conn holds table inet b4. Its methods may be called from any goroutine.
type Conn struct {
	mu     sync.Mutex
	s      *socket // nil once closed
	flags  uint32  // of the table
	limits limits
	rules  *Ruleset // in force since the last Apply, empty at first
	alive  []byte   // what Answer sends; nil while nothing is watched
}

// Open takes table inet b4 for this process and empties it: whatever an earlier
// b4d left is removed. The error wraps [ErrOwned] if that b4d still runs, and
// unix.EPERM without CAP_NET_ADMIN.
func Open() (*Conn, error) { return open(tableOwner, usual) }

func open(flags uint32, l limits) (*Conn, error) {
	s, err := dial()
	if err != nil {
		return nil, err
	}
	c := &Conn{s: s, flags: flags, limits: l, rules: &Ruleset{}}
	err = c.claim()
	if c.flags != 0 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)) {
		c.flags = 0 // Linux 5.11 and older: a plain table, which Close removes
		err = c.claim()
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return c, nil
}

// claim replaces the table, whether there is one or not, by one without rules.
func (c *Conn) claim() error {
	b := newBatch(tableName)
	b.addTable(0)
	b.delTable()
	b.addBase(c.flags, c.limits)
	return c.s.run(b)
}

// addBase adds the table and what in it outlives a reload. A counter is added
// only once: until 5.17, adding one that is there leaked its memory (Linux
// commit dad3bdeef45f).
func (b *batch) addBase(flags uint32, l limits) {
	b.addTable(flags)
	for _, name := range counterNames {
		b.addCounter(name)
	}
	b.addWatchdog(l)
}

// run commits b and says which part of it the kernel refused, and why.
func (s *socket) run(b *batch) error {
	buf, err := b.bytes()
	if err != nil {
		return err
	}
	return b.explain(s.commit(buf))
}

func (b *batch) explain(err error) error {
	var no *refusal
	if !errors.As(err, &no) || int(no.seq) >= len(b.what) {
		return err
	}
	switch {
	case no.errno == unix.EPERM && no.seq == 0: // nfnetlink refuses the sender
		return fmt.Errorf("change nf_tables: %w: b4d needs CAP_NET_ADMIN, run it as root", err)
	case no.errno == unix.EPERM: // nf_tables refuses the socket
		return fmt.Errorf("%s: %w: %w", b.what[no.seq], err, ErrOwned)
	case no.errno == unix.EOPNOTSUPP && no.seq == 0:
		return fmt.Errorf("this kernel has no nf_tables, install kmod-nft-core: %w", err)
	}
	return fmt.Errorf("%s: %w", b.what[no.seq], err)
}

// Apply makes r the contents of the table and watched the devices whose packets
// are looked at, in one transaction: on an error the old rules stay in force. Where
// hiding from flow offload begins or ends, that is a transaction of its own before,
// and takes some 30 ms; an error may find it done.
// It may be called again and again. Counts go on, and packets that wait in
// a queue keep waiting. unix.ENOENT is in the error if
// the table is gone, as for [Conn.Answer]. It answers, too.
func (c *Conn) Apply(r *Ruleset, watched []string) error {
	err := c.change(watched, func() error { return c.makeRoom(r) }, func(b *batch) { b.replaceRules(c.rules, r) }, func() { c.rules = r })
	if err != nil {
		return fmt.Errorf("apply rules: %w", err)
	}
	return nil
}

// change runs what add adds and the set of watched devices as one transaction, after
// before, and done once it has succeeded.
func (c *Conn) change(watched []string, before func() error, add func(*batch), done func()) error {
	keys, err := deviceKeys(watched)
	if err != nil {
		return err
	}
	alive, err := answering(keys)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s == nil {
		return os.ErrClosed
	}
	if err := before(); err != nil {
		return err
	}
	b := newBatch(tableName)
	add(b)
	b.answer(keys)
	if err := c.s.run(b); err != nil {
		return err
	}
	c.alive = alive
	done()
	return nil
}

// replaceRules keeps all chains, those that r has no use for without rules:
// deleting a base chain drops each packet that waits in a queue, of whatever
// program.
func (b *batch) replaceRules(old, r *Ruleset) {
	b.delRules()
	for i, s := range r.ports {
		b.addSet(s.name, uint32(freeSet+i), inetService, 2, 0, 0)
		b.fill(s.name, portKeys(s.ports))
	}
	for _, s := range old.ports {
		if !r.looksUp(s.name) {
			b.delSet(s.name)
		}
	}
	b.replaceSets(old, r)
	for _, ch := range r.chains {
		b.addChain(ch)
	}
	for _, ch := range r.chains {
		for _, rule := range ch.rules {
			b.addRule(ch.name, rule)
		}
	}
}

func (r *Ruleset) looksUp(set string) bool {
	for _, s := range r.ports {
		if s.name == set {
			return true
		}
	}
	return false
}

// Watch makes names the devices whose packets are looked at, from now on and
// for [Lease] after each answer, of which this is one. None is a pause.
func (c *Conn) Watch(names []string) error {
	if err := c.change(names, func() error { return nil }, func(*batch) {}, func() {}); err != nil {
		return fmt.Errorf("watch devices %q: %w", names, err)
	}
	return nil
}

// Answer tells the rules that packets are being read, within [Patience] of the first
// that was not answered, and keeps the watched devices watched for another [Lease]. It
// allocates nothing and takes some 10 µs, unless another program is just changing
// nf_tables. An error means that the table is gone, as a plain one may be
// (unix.ENOENT), or out of reach: Close, Open and Apply heal it.
func (c *Conn) Answer() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answer()
}

// TryAnswer is Answer for the packet loop, [AnswerWithin] after it has read something,
// and after [RenewEvery] anyway. It does not wait for another method, of which a slow
// router may be busy for seconds with long lists while packets are waiting: done is
// false then, and it is to be called again soon.
func (c *Conn) TryAnswer() (done bool, err error) {
	if !c.mu.TryLock() {
		return false, nil
	}
	defer c.mu.Unlock()
	return true, c.answer()
}

func (c *Conn) answer() error {
	if c.s == nil {
		return os.ErrClosed
	}
	if c.alive == nil {
		return nil
	}
	if err := c.s.commit(c.alive); err != nil {
		return fmt.Errorf("answer the rules: %w", err)
	}
	return nil
}

// answering is the transaction that answers and renews keys, nil if there are none.
func answering(keys [][]byte) ([]byte, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	b := newBatch(tableName)
	b.answer(keys)
	return b.bytes()
}

// deviceKeys returns the names, each once, as the kernel compares them.
func deviceKeys(names []string) ([][]byte, error) {
	names = slices.Clone(names)
	sort.Stable(sort.StringSlice(names))
	var keys [][]byte
	for _, name := range slices.Compact(names) {
		if name == "" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/\x00") {
			return nil, fmt.Errorf("device name %q: want 1 to %d bytes", name, unix.IFNAMSIZ-1)
		}
		keys = append(keys, deviceKey(name))
	}
	return keys, nil
}

// deviceKey is a name as the kernel compares it: padded to 16 bytes.
func deviceKey(name string) []byte {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, name)
	return key
}

func portKeys(ports []uint16) [][]byte {
	var keys [][]byte
	for _, p := range ports {
		keys = append(keys, []byte{byte(p >> 8), byte(p)})
	}
	return keys
}

// Close removes the table. It is idempotent.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.s == nil {
		return nil
	}
	err := c.s.remove()
	err = errors.Join(err, c.s.close())
	c.s = nil
	return err
}

// remove deletes the table, if there is one.
func (s *socket) remove() error {
	b := newBatch(tableName)
	b.delTable()
	if err := s.run(b); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// Cleanup removes what a b4d left that could not do so itself. It needs no
// other state. The error wraps [ErrOwned] if that b4d still runs.
func Cleanup() error {
	s, err := dial()
	if err != nil {
		return err
	}
	return errors.Join(s.remove(), s.close())
}
