// Package netif turns the user's list of WAN names into the devices that are
// watched: netifd's interfaces (asked over ubus), plain devices, or, where no
// name is given, the devices that hold a default route.
package netif

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// ErrUnknown is wrapped once for each name that means nothing here.
var ErrUnknown = errors.New("neither a netifd interface nor a device")

// An UnknownError is a name that means nothing here. It wraps ErrUnknown.
type UnknownError string

func (e UnknownError) Error() string { return string(e) + ": " + ErrUnknown.Error() }

// Unwrap returns ErrUnknown.
func (e UnknownError) Unwrap() error { return ErrUnknown }

// Retry is how long to wait while WAN.Down is not empty or Resolve fails, n times
// after the last event: netifd calls an interface up only just after its route
// appears in the kernel, and neither that nor its own return is told by rtnetlink.
// So it begins with a fifth of a second, for an uplink is to be followed within
// one, and doubles up to five, as some interfaces are never up.
func Retry(n int) time.Duration {
	const first, longest = 200 * time.Millisecond, 5 * time.Second
	return min(first<<min(n, 5), longest)
}

// A WAN is the devices that lead to the internet, by family. A device stands in
// a list once.
type WAN struct {
	V4, V6 []string // device names

	// Down are the names that netifd knows and that have no device now: the
	// interface is down, is being set up, or lives in another namespace. To be
	// resolved again at the next change, and after each Retry.
	Down []string

	// Notes say what is left alone, or never comes by.
	Notes []Note
}

// A Note is a sentence. Who says it in other words goes by Code and Args.
type Note struct {
	Code string
	Text string // in English, without its point
	Args []string
}

// Devices are those of either family, IPv4's first.
func (w WAN) Devices() []string {
	all := slices.Clone(w.V4)
	for _, d := range w.V6 {
		all = add(all, d)
	}
	return all
}

// String is for logs and status: "eth1 (v4, v6), 6in4-wan6 (v6), lte (down)".
func (w WAN) String() string {
	var parts []string
	for _, d := range w.Devices() {
		parts = append(parts, w.text(d))
	}
	for _, n := range w.Down {
		parts = append(parts, n+" (down)")
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// text is a device with its families.
func (w WAN) text(device string) string {
	switch v4, v6 := slices.Contains(w.V4, device), slices.Contains(w.V6, device); {
	case v4 && v6:
		return device + " (v4, v6)"
	case v6:
		return device + " (v6)"
	}
	return device + " (v4)"
}

// Default returns the devices that hold a default route of the main table, best
// metric first, then lowest index; each next hop of a multipath route counts. A
// VPN's tunnel does not: what goes in there is not what the provider sees. None
// is no error: the uplink may not be there yet.
func Default() (WAN, error) {
	k, err := readKernel()
	if err != nil {
		return WAN{}, err
	}
	return k.defaults(), nil
}

// Resolve returns the devices that names stand for, in that order. A name is
// netifd's where netifd knows it, else a device of this network namespace; no
// names at all is Default.
//
// A named device is watched in the families in which it holds a default route
// of any table (policy routing keeps them elsewhere than in main), and in both
// where it holds none: what no route leads to carries nothing, so one too many
// costs nothing. Which of netifd's interfaces named it does not matter: "wan"
// and "wan6" commonly share a device.
//
// The error joins one line for each name that nothing here knows, wrapping
// ErrUnknown; the other names are resolved all the same. Any other error comes
// with an empty WAN: an interface and a device may bear the same name, so
// nothing is guessed while netifd does not answer. Keep what was, then, and ask
// again after Retry.
func Resolve(names []string) (WAN, error) {
	if len(names) == 0 {
		return Default()
	}
	ifaces, err := askNetifd(sockets)
	if err != nil {
		return WAN{}, fmt.Errorf("ask netifd for its interfaces: %w", err)
	}
	k, err := readKernel()
	if err != nil {
		return WAN{}, err
	}
	return resolve(names, ifaces, k)
}

// resolve is Resolve without its questions. ifaces is nil without netifd.
func resolve(names []string, ifaces map[string]iface, k kernel) (w WAN, err error) {
	var errs []error
	for _, name := range names {
		device := name
		i, known := ifaces[name]
		if known {
			device = i.device()
		}
		l, found := k.byName(device)
		switch {
		case found:
			w.watch(l, k)
		case known:
			w.Down = add(w.Down, name)
		default:
			errs = append(errs, UnknownError(name))
		}
	}
	w.noteBridges(k)
	return w, errors.Join(errs...)
}

// watch adds l in the families that it serves.
func (w *WAN) watch(l link, k kernel) {
	var v4, v6 bool
	for _, r := range k.routes {
		if r.index == l.index {
			v4, v6 = v4 || !r.v6, v6 || r.v6
		}
	}
	if v4 || !v6 {
		w.V4 = add(w.V4, l.name)
	}
	if v6 || !v4 {
		w.V6 = add(w.V6, l.name)
	}
}

// kernel is what the kernel knows of links and default routes.
type kernel struct {
	links  []link
	routes []route
}

func (k kernel) byName(name string) (link, bool) {
	return k.link(func(l link) bool { return l.name == name })
}

func (k kernel) byIndex(index int32) (link, bool) {
	return k.link(func(l link) bool { return l.index == index })
}

func (k kernel) link(is func(link) bool) (link, bool) {
	i := slices.IndexFunc(k.links, is)
	if i < 0 {
		return link{}, false
	}
	return k.links[i], true
}

func (k kernel) defaults() (w WAN) {
	routes := slices.Clone(k.routes)
	sort.SliceStable(routes, func(i, j int) bool {
		a, b := routes[i], routes[j]
		return a.metric < b.metric || a.metric == b.metric && a.index < b.index
	})
	var tunnels WAN
	for _, r := range routes {
		l, ok := k.byIndex(r.index)
		if !ok || l.loopback || r.table != mainTable {
			continue // a device that came or went between the two questions sends an event
		}
		to := &w
		if slices.Contains(vpnKinds, l.kind) {
			to = &tunnels
		}
		if r.v6 {
			to.V6 = add(to.V6, l.name)
		} else {
			to.V4 = add(to.V4, l.name)
		}
	}
	for _, d := range tunnels.Devices() {
		l, _ := k.byName(d)
		w.note("note_vpn", "%s holds a default route and is left alone, as what goes into a VPN's tunnel (%s) is not what the provider sees: name it with list wan to have it treated", tunnels.text(d), l.kind)
	}
	w.noteBridges(k)
	return w
}

// add appends s where it is not yet in list.
func add(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
