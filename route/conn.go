package route

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"b4/nlwatch"
	"b4/rtnl"

	"golang.org/x/sys/unix"
)

// A Conn changes the routes of the network namespace it was opened in. Its
// methods may be called from any goroutine.
type Conn struct {
	mu    sync.Mutex
	c     *rtnl.Conn                                 // nil once closed
	do    func(typ, flags uint16, body []byte) error // c.Do, or a test's
	look  func(protocol uint8) (Links, error)        // readLinks, or a test's
	addrs []Addr                                     // that we have added: the kernel keeps no record of whose they are
	tell  func(change string)                        // of each change that was made
}

// Open connects to the kernel and changes nothing. Each change that the Conn makes is
// told in a few words, such as "add rule …"; nil is for who does not listen.
func Open(tell func(change string)) (*Conn, error) {
	c, err := rtnl.Dial()
	if err != nil {
		return nil, err
	}
	look := func(protocol uint8) (Links, error) { return readLinks(c, protocol) }
	if tell == nil {
		tell = func(string) {}
	}
	return &Conn{c: c, do: c.Do, look: look, tell: tell}, nil
}

// Watch subscribes to what the kernel says of devices, addresses, default
// routes and rules of the calling thread's network namespace: whenever it
// tells, take [Conn.Links], [Plan] and [Conn.Reconcile] again. Our own changes
// are told too; what they lead to changes nothing any more. It tells whatever
// netif's Watch does.
func Watch() (*nlwatch.Watcher, error) {
	return rtnl.Watch(rtnl.Links | rtnl.Addrs | rtnl.Routes | rtnl.Rules)
}

// Links takes a snapshot.
func (c *Conn) Links() (Links, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c == nil {
		return Links{}, os.ErrClosed
	}
	return c.look(everyones)
}

// Reconcile adds what want has and the kernel has not, and then removes what is
// ours and not in want: routes and rules by their [Protocol], addresses that
// this Conn has added. nil removes everything. It may be called again and
// again; where nothing is to be changed, nothing is.
//
// A family stands whole or as it was: if something of it is refused, what this
// call had added to it is taken back, and what stood there before is left. The
// other family and the removals go on. The error joins all refusals.
func (c *Conn) Reconcile(want *State) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c == nil {
		return os.ErrClosed
	}
	if err := c.reconcile(want); err != nil {
		return fmt.Errorf("reconcile routes: %w", err)
	}
	return nil
}

func (c *Conn) reconcile(want *State) error {
	l, err := c.look(Protocol)
	if err != nil {
		return err
	}
	var wanted []family
	if want != nil {
		wanted = want.families
	}
	var errs []error
	var refused [2]bool // by family, IPv4 first
	for _, f := range wanted {
		if err := c.raise(f, l); err != nil {
			errs = append(errs, err)
			refused[index(f.v6())] = true
		}
	}
	return errors.Join(append(errs, c.remove(wanted, refused, l))...)
}

func index(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// raise adds what is missing of f: the rules last, for without its route each
// leads nowhere. On an error it takes back what it has added.
func (c *Conn) raise(f family, l Links) error {
	var undo []func() error
	add := func(what string, typ, flags uint16, body []byte) error {
		err := c.do(typ, unix.NLM_F_CREATE|flags, body)
		if err == nil {
			c.tell("add " + what)
			return nil
		}
		errs := []error{fmt.Errorf("add %s: %w", what, explain(err))}
		for _, back := range slices.Backward(undo) {
			errs = append(errs, back())
		}
		return errors.Join(errs...)
	}
	if a := f.addr; !slices.ContainsFunc(l.Addrs, a.same) {
		what := fmt.Sprintf("address %v to %s", a.Prefix, l.name(a.Index))
		if err := add(what, unix.RTM_NEWADDR, unix.NLM_F_EXCL, a.body()); err != nil {
			return err
		}
		c.addrs = append(slices.DeleteFunc(c.addrs, a.same), a) // once: the kernel may have dropped it with IPv6
		undo = append(undo, func() error { return c.removeAddr(a, l) })
	}
	for _, r := range f.routes {
		if slices.ContainsFunc(l.Routes, r.same) {
			continue
		}
		// Append, for a route by another device of ours may hold the place.
		if err := add("route "+r.text(l), unix.RTM_NEWROUTE, unix.NLM_F_APPEND, r.body()); err != nil {
			return err
		}
		undo = append(undo, func() error { return c.removeRoute(r, l) })
	}
	for _, r := range f.rules {
		if slices.ContainsFunc(l.Rules, r.same) {
			continue
		}
		if err := add("rule "+r.String(), unix.RTM_NEWRULE, unix.NLM_F_EXCL, r.body()); err != nil {
			return err
		}
		undo = append(undo, func() error { return c.removeRule(r) })
	}
	return nil
}

// remove takes away what is ours in l and not wanted, in the reverse order.
func (c *Conn) remove(wanted []family, keep [2]bool, l Links) error {
	var errs []error
	for _, r := range l.Rules {
		stays := slices.ContainsFunc(wanted, func(f family) bool { return slices.ContainsFunc(f.rules, r.same) })
		if r.Protocol == Protocol && !stays && !keep[index(r.V6)] {
			errs = append(errs, c.removeRule(r))
		}
	}
	for _, r := range l.Routes {
		stays := slices.ContainsFunc(wanted, func(f family) bool { return slices.ContainsFunc(f.routes, r.same) })
		if r.Protocol == Protocol && !stays && !keep[index(r.V6())] {
			errs = append(errs, c.removeRoute(r, l))
		}
	}
	for _, a := range slices.Clone(c.addrs) {
		stays := slices.ContainsFunc(wanted, func(f family) bool { return f.addr.same(a) })
		if !stays && !keep[index(a.Prefix.Addr().Is6())] {
			errs = append(errs, c.removeAddr(a, l))
		}
	}
	return errors.Join(errs...)
}

// removeRule removes r, and no rule of another protocol: the kernel asks for
// that (rule_find in net/core/fib_rules.c).
func (c *Conn) removeRule(r Rule) error {
	return c.take(fmt.Sprintf("rule %v", r), unix.RTM_DELRULE, r.body())
}

// removeRoute removes r, and no route of another protocol (fib_table_delete,
// ip6_route_del).
func (c *Conn) removeRoute(r Route, l Links) error {
	return c.take("route "+r.text(l), unix.RTM_DELROUTE, r.body())
}

// removeAddr removes a. With a device's last IPv4 address the kernel removes,
// without a word, all routes that lead there (fib_disable_ip), as it does with
// the device itself: so a new address is added before the old one goes, and no
// family without an address is planned for.
func (c *Conn) removeAddr(a Addr, l Links) error {
	if err := c.take(fmt.Sprintf("address %v from %s", a.Prefix, l.name(a.Index)), unix.RTM_DELADDR, a.body()); err != nil {
		return err
	}
	c.addrs = slices.DeleteFunc(c.addrs, a.same)
	return nil
}

// take removes what body says, which may be gone already.
func (c *Conn) take(what string, typ uint16, body []byte) error {
	switch err := c.do(typ, 0, body); {
	case err == nil:
		c.tell("remove " + what)
	case !gone(err):
		return fmt.Errorf("remove %s: %w", what, explain(err))
	}
	return nil
}

// gone tells that there was nothing to remove: no such rule, route or address,
// its device went away, or that has no IPv6 any more (ENXIO).
func gone(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ESRCH, unix.EADDRNOTAVAIL, unix.ENODEV, unix.ENXIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// explain adds what to do about a refusal.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: b4d needs CAP_NET_ADMIN, run it as root", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: this kernel has no policy routing (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES), use the NFQUEUE engine", err)
	}
	return err
}

// Close ends the connection. It changes nothing: what stands goes on to lead
// packets into the TUN until that is closed, and the rules stay after that.
// [Conn.Reconcile] with nil removes everything first. Close is idempotent.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c == nil {
		return nil
	}
	err := c.c.Close()
	c.c = nil
	return err
}

// Cleanup removes every route and rule of ours, whoever left them.
func Cleanup() error {
	c, err := Open(nil)
	if err != nil {
		return err
	}
	return errors.Join(c.Reconcile(nil), c.Close())
}
