package fw

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"golang.org/x/sys/unix"
)

// The families that have tables, NFPROTO_* of linux/netfilter.h.
const (
	inetFamily = unix.NFPROTO_INET
	ip4Family  = unix.NFPROTO_IPV4
	ip6Family  = unix.NFPROTO_IPV6
)

// A foreignTable names a table of another program.
type foreignTable struct {
	family uint8
	name   string
}

func (t foreignTable) String() string {
	switch t.family {
	case ip4Family:
		return "ip " + t.name
	case ip6Family:
		return "ip6 " + t.name
	}
	return "inet " + t.name
}

// A foreignChain is a chain of another program's table.
type foreignChain struct {
	table    foreignTable
	name     string
	kind     chainType // "" if it is only jumped to
	point    hookPoint
	priority int32
	drops    bool    // what comes to its end, by policy
	rules    []attrs // the expressions of each, NFTA_RULE_EXPRESSIONS
}

func (c *foreignChain) String() string { return c.table.String() + " " + c.name }

// An element is one of a set, or, with data or a verdict, of a map.
type element struct {
	key, data []byte
	verdict   attrs // NFTA_DATA_VERDICT
	flags     uint32
	ranged    bool // its key has an end
}

// A ruleset is what others have in those tables that have a chain at a hook.
type ruleset struct {
	chains []*foreignChain // in the order of their tables; base chains by priority
	// elements returns those of a set.
	elements func(t foreignTable, set string) ([]element, error)
}

func (r *ruleset) find(t foreignTable, name string) *foreignChain {
	for _, c := range r.chains {
		if c.table == t && c.name == name {
			return c
		}
	}
	return nil
}

// base returns the base chains of a kind at a hook that a family's packets meet,
// in their order.
func (r *ruleset) base(kind chainType, point hookPoint, v6 bool) []*foreignChain {
	own := uint8(ip4Family)
	if v6 {
		own = ip6Family
	}
	var list []*foreignChain
	for _, c := range r.chains {
		if c.kind == kind && c.point == point && (c.table.family == inetFamily || c.table.family == own) {
			list = append(list, c)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].priority < list[j].priority })
	return list
}

// errChanged is that of rules which change all the time.
var errChanged = errors.New("the rules changed while they were read")

// steady runs f, which reads, until no rule has changed meanwhile.
func (s *socket) steady(f func() error) error {
	const tries = 5 // a firewall's reload is one change
	for range tries {
		before, err := s.generation()
		if err == nil {
			err = s.waitTurn()
		}
		if err == nil {
			err = f()
		}
		var after uint32
		if err == nil {
			after, err = s.generation()
		}
		if err != nil || after == before {
			return err
		}
	}
	return errChanged
}

// waitTurn waits for the change that is under way. The kernel raises the generation
// first, then switches to the new rules, then takes the old ones off its lists
// (nf_tables_commit), and reading does not wait for it. In between, rules of the
// old and the new kind can be read under one generation; of a table that is
// replaced none at all, as the kernel looks no further than the first of its name
// (nf_tables_dump_rules). A transaction without contents waits for its turn, and
// changes nothing.
func (s *socket) waitTurn() error {
	b := newBatch("")
	b.append(unix.NFNL_MSG_BATCH_END, 0, unix.NFPROTO_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	err := s.send(b.buf)
	var no *refusal
	if err == nil {
		err = s.answers(func(m message) {
			if m.typ == unix.NLMSG_ERROR && no == nil {
				no = m.refusal()
			}
		})
	}
	if err == nil && no != nil {
		err = no
	}
	if err != nil {
		err = fmt.Errorf("wait for a change of the rules: %w", err)
	}
	return err
}

// readOthers reads the tables that have base chains of a kind at a hook. The
// elements of sets are read when they are asked for.
func (s *socket) readOthers(kind chainType, point hookPoint) (*ruleset, error) {
	all := map[foreignTable][]*foreignChain{}
	var wanted []foreignTable
	err := s.dump(ask(unix.NFT_MSG_GETCHAIN, unix.NFPROTO_UNSPEC), func(family uint8, a attrs) error {
		c := readChain(family, a)
		if family != inetFamily && family != ip4Family && family != ip6Family || c.table == (foreignTable{inetFamily, tableName}) {
			return nil
		}
		all[c.table] = append(all[c.table], c)
		if c.kind == kind && c.point == point && !slices.Contains(wanted, c.table) {
			wanted = append(wanted, c.table)
		}
		return nil
	})
	r := &ruleset{elements: s.readElements}
	for _, t := range wanted {
		r.chains = append(r.chains, all[t]...)
		if err == nil {
			err = s.readRules(r, t)
		}
	}
	return r, err
}

func readChain(family uint8, a attrs) *foreignChain {
	c := &foreignChain{
		table: foreignTable{family, a.text(unix.NFTA_CHAIN_TABLE)}, name: a.text(unix.NFTA_CHAIN_NAME),
		kind: chainType(a.text(unix.NFTA_CHAIN_TYPE)),
	}
	if h := a.get(unix.NFTA_CHAIN_HOOK); h != nil {
		c.point = hookPoint(h.num(unix.NFTA_HOOK_HOOKNUM))
		c.priority = int32(h.num(unix.NFTA_HOOK_PRIORITY))
		c.drops = a.has(unix.NFTA_CHAIN_POLICY) && a.num(unix.NFTA_CHAIN_POLICY) == nfDrop
	}
	return c
}

func (s *socket) readRules(r *ruleset, t foreignTable) error {
	return s.dump(ask(unix.NFT_MSG_GETRULE, t.family, t.name), func(family uint8, a attrs) error {
		// Kernels that do not filter (before 4.6) list all tables.
		if (foreignTable{family, a.text(unix.NFTA_RULE_TABLE)}) != t {
			return nil
		}
		if c := r.find(t, a.text(unix.NFTA_RULE_CHAIN)); c != nil {
			c.rules = append(c.rules, slices.Clone(a.get(unix.NFTA_RULE_EXPRESSIONS)))
		}
		return nil
	})
}

func (s *socket) readElements(t foreignTable, set string) (list []element, err error) {
	err = s.dump(ask(unix.NFT_MSG_GETSETELEM, t.family, t.name, set), func(_ uint8, a attrs) error {
		elems := slices.Clone(a.get(unix.NFTA_SET_ELEM_LIST_ELEMENTS))
		for _, e, ok := elems.next(); ok; _, e, ok = elems.next() {
			const keyEnd = 10 // NFTA_SET_ELEM_KEY_END
			list = append(list, element{
				key: e.value(unix.NFTA_SET_ELEM_KEY), data: e.value(unix.NFTA_SET_ELEM_DATA),
				verdict: e.get(unix.NFTA_SET_ELEM_DATA).get(unix.NFTA_DATA_VERDICT),
				flags:   e.num(unix.NFTA_SET_ELEM_FLAGS), ranged: e.has(keyEnd),
			})
		}
		return nil
	})
	return list, err
}

// generation is a number that every change of the rules raises.
func (s *socket) generation() (id uint32, err error) {
	err = s.dump(question(unix.NFT_MSG_GETGEN, unix.NLM_F_ACK, unix.NFPROTO_UNSPEC), func(_ uint8, a attrs) error {
		id = a.num(unix.NFTA_GEN_ID)
		return nil
	})
	if err != nil {
		err = fmt.Errorf("read the generation of the rules: %w", err)
	}
	return id, err
}

// ask is a request for all objects of a kind, if need be of one table or of
// one set in that.
func ask(typ uint16, family uint8, names ...string) []byte {
	return question(typ, unix.NLM_F_DUMP, family, names...)
}

// question is a request with the attributes 1 and up, which are names.
func question(typ, flags uint16, family uint8, names ...string) []byte {
	ae := attributes()
	for i, name := range names {
		ae.String(uint16(i+1), name)
	}
	var b batch
	attrs, _ := ae.Encode() // strings only: it cannot fail
	b.append(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, family, 0, attrs)
	return b.buf
}
