package fw

import (
	"fmt"
	"strings"
)

const (
	tableName = "b4"
	wanSet    = "wan" // names of the watched devices, which time out after Lease
	freeSet   = 4     // the first id of a set that is not every table's

	// Watched ports, if there are several.
	portsSet     = "ports" // of TCP
	httpPortsSet = "http_ports"
	udpPortsSet  = "udp_ports"
	blockedSet   = "blocked_ports" // of UDP
)

// counterNames are the named counters of the table. They outlive a reload.
var counterNames = []string{"opened", "bare", "queued", "replies", "quic", "blocked"}

// A Ruleset is the wanted contents of table inet b4. It is immutable.
type Ruleset struct {
	ports  []portSet // those that the rules look up
	sets   []fixedSet
	chains []chain // each after those it jumps to
}

type portSet struct {
	name  string
	ports []uint16
}

type chain struct {
	name  string
	hook  *hook // nil if it is only jumped to
	rules []rule
}

// A rule is its terms in order of evaluation.
type rule []term

type hook struct {
	kind     chainType
	point    hookPoint
	priority int32
}

// A chainType is what the kernel does after the rules of a chain.
type chainType string

const (
	filter  chainType = "filter" // nothing
	reroute chainType = "route"  // routes a packet again whose mark was changed
	nat     chainType = "nat"    // binds the connection; only its first packet comes by
)

// A hookPoint is an NF_INET_* number of linux/netfilter.h.
type hookPoint uint32

const (
	prerouting  hookPoint = 0
	forward     hookPoint = 2
	output      hookPoint = 3
	postrouting hookPoint = 4
)

func (p hookPoint) String() string {
	switch p {
	case prerouting:
		return "prerouting"
	case forward:
		return "forward"
	case output:
		return "output"
	}
	return "postrouting"
}

// String is the table as `nft -y list table inet b4` shows it, but for the
// watched devices and the counts. The flag owner is left out by kernels older
// than 5.12. What nft has no words for (a queue of form Xt, a device's name that is
// looked up as it is) is written as if it had, with a comment.
func (r *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n\tflags owner\n", tableName)
	for _, name := range counterNames {
		fmt.Fprintf(&b, "\n\tcounter %s {\n\t}\n", name)
	}
	const sets = `
	set %s {
		type ifname
		timeout %v
		gc-interval %v
	}

	set %s {
		type ifname
		size 65535
		flags dynamic
	}

	set %s {
		type ifname
		size 65535
		flags dynamic,timeout
		timeout %v
		gc-interval %v
	}
`
	fmt.Fprintf(&b, sets, wanSet, Lease, gcEvery, askedSet, freshSet, Patience, gcEvery)
	for _, s := range r.ports {
		fmt.Fprintf(&b, "\n\tset %s {\n\t\ttype inet_service\n\t\telements = { %s }\n\t}\n", s.name, list(s.ports))
	}
	for i := range r.sets {
		fmt.Fprintf(&b, "\n%v", &r.sets[i])
	}
	for _, c := range r.chains {
		fmt.Fprintf(&b, "\n\tchain %s {\n", c.name)
		if c.hook != nil {
			fmt.Fprintf(&b, "\t\ttype %s hook %v priority %d; policy accept;\n", c.hook.kind, c.hook.point, c.hook.priority)
		}
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "\t\t%v\n", rule)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// Chains names the chains of r, in their order.
func (r *Ruleset) Chains() []string {
	var names []string
	for _, c := range r.chains {
		names = append(names, c.name)
	}
	return names
}

func (r rule) String() string {
	var b strings.Builder
	for i, t := range r {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t.String())
	}
	if s := r.comment(); s != "" {
		fmt.Fprintf(&b, " comment %q", s)
	}
	return b.String()
}

// comment is stored with the rule, so that nft shows it too.
func (r rule) comment() string {
	for _, t := range r {
		switch t := t.(type) {
		case queue:
			if t.form == Xt {
				return "by xt target NFQUEUE"
			}
		case alive:
			return "while " + string(t) + " is watched"
		case unanswered:
			return "b4d does not answer"
		case note:
			return "b4d is asked"
		}
	}
	return ""
}

func list(ports []uint16) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ports), " ", ", "), "[]")
}
