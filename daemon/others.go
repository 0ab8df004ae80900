package daemon

import (
	"bytes"
	"strconv"
)

// A listener is a program that takes packets by a netfilter queue.
type listener struct {
	queue  uint16
	portid uint32 // of its netlink socket: the number of its process, for the first such socket it has
}

// listenersPath has a line for each, of the calling thread's namespace.
const listenersPath = "/proc/thread-self/net/netfilter/nfnetlink_queue"

// parse reads a line of listenersPath, whose nine numbers begin with these two
// (seq_show of net/netfilter/nfnetlink_queue.c).
func (l *listener) parse(line []byte) bool {
	queue, line := cutWord(line)
	portid, _ := cutWord(line)
	n, bad := strconv.ParseUint(string(queue), 10, 16)
	id, worse := strconv.ParseUint(string(portid), 10, 32)
	*l = listener{uint16(n), uint32(id)}
	return bad == nil && worse == nil
}

// unknown is a program of which nothing can be told.
const unknown = "?"

// program is the name of the process behind a socket, or its number where procd's
// jail hides the process. A process's further sockets have numbers that tell nothing,
// negative ones (netlink_autobind of net/netlink/af_netlink.c).
func program(k kernel, portid uint32) string {
	if int32(portid) < 0 {
		return unknown
	}
	pid := strconv.FormatUint(uint64(portid), 10)
	name := "PID " + pid
	eachLine(k, "/proc/"+pid+"/comm", func(line []byte) bool {
		name = string(bytes.TrimSpace(line))
		return false
	})
	return name
}

// A taker is a program that takes packets, by these queues.
type taker struct {
	name   string
	queues string
}

// addQueue notes one more queue of a program.
func addQueue(takers []taker, name, queue string) []taker {
	for i := range takers {
		if takers[i].name == name {
			takers[i].queues += ", " + queue
			return takers
		}
	}
	return append(takers, taker{name, queue})
}

// others says which other programs take packets, each once. Further sockets are taken
// for those of the one program that there is, if there is but one.
func (d *Daemon) others(f *findings) {
	var takers []taker
	eachLine(d.kernel, listenersPath, func(line []byte) bool {
		var l listener
		if l.parse(line) && !d.owns(l.queue) {
			takers = addQueue(takers, program(d.kernel, l.portid), strconv.Itoa(int(l.queue)))
		}
		return true
	})
	if len(takers) == 2 && takers[0].name == unknown {
		takers[0], takers[1] = takers[1], takers[0]
	}
	if len(takers) == 2 && takers[1].name == unknown {
		takers = addQueue(takers[:1], takers[0].name, takers[1].queues)
	}
	for _, t := range takers {
		f.say(true, "other_program", "Another program (%s) takes packets by netfilter queue %s: two such programs on one connection undo each other.",
			t.name, t.queues)
	}
}

// owns reports whether a queue is ours: the kernel gives each to one socket.
func (d *Daemon) owns(queue uint16) bool {
	m := &d.set.conf.Main
	n := m.Queues
	if m.Steer == steerAll {
		n *= 2 // see settings.queue
	}
	return d.core != nil && d.core.tunnel == nil && int(queue-m.QueueNum) < n // around 65535 as there
}
