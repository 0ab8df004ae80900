package lab

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"b4/fw"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// PeerRules are the rules that another program asks for in its manual, in our words.
type PeerRules struct {
	Queue     uint16
	Mark      uint32 // of what it sends itself
	Priority  int32  // of the chain, of the hook postrouting
	Packets   uint64 // the first of a connection's that the client sends
	Replies   uint64 // and those that the server sends
	Untracked bool   // conntrack does not see what it sends itself
}

// SetPeerRules makes them in the router, for TCP to port 443: a table of its own, by
// rules of the one kind that this kernel has. The kernel's count is of both directions,
// as the library knows no other: a bound is twice what is meant.
func (l *Lab) SetPeerRules(r PeerRules) error {
	return l.Router.Do(func() error {
		f, err := fw.Probe()
		if err != nil {
			return err
		}
		if err := r.apply(f.Queue); err != nil {
			return fmt.Errorf("set up rules for queue %d: %w", r.Queue, err)
		}
		return nil
	})
}

func (r *PeerRules) apply(form fw.QueueForm) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "peer"})
	rule := func(hook *nftables.ChainHook, priority int32, exprs ...expr.Any) {
		chain := c.AddChain(&nftables.Chain{
			Name: fmt.Sprint("hook", *hook), Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)),
		})
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
	}
	rule(nftables.ChainHookPostrouting, r.Priority,
		slices.Concat(leavesBy(RouterWAN), r.match(2, 0, r.Packets), []expr.Any{r.queue(form)})...)
	if r.Replies > 0 {
		rule(nftables.ChainHookPrerouting, 0,
			slices.Concat(named(expr.MetaKeyIIFNAME, RouterWAN), r.match(0, 1, r.Replies), []expr.Any{r.queue(form)})...)
	}
	if r.Untracked {
		rule(nftables.ChainHookOutput, -401, append(marked(r.Mark, expr.CmpOpNeq), &expr.Notrack{})...)
	}
	return c.Flush()
}

// match asks for the port, which stands so far in TCP's header, and for the first
// packets of a direction.
func (r *PeerRules) match(port uint32, direction byte, packets uint64) []expr.Any {
	return slices.Concat(
		marked(r.Mark, expr.CmpOpEq),
		equals(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, []byte{unix.IPPROTO_TCP}),
		equals(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2}, []byte{443 >> 8, 443 & 0xff}),
		equals(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, []byte{direction}),
		[]expr.Any{
			&expr.Ct{Key: expr.CtKeyPKTS, Register: 1},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 8, Size: 8},
			&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: binary.BigEndian.AppendUint64(nil, 2*packets)},
		})
}

// marked compares a packet's bits with none.
func marked(bits uint32, op expr.CmpOp) []expr.Any {
	none := make([]byte, 4)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: none},
		&expr.Cmp{Op: op, Register: 1, Data: none},
	}
}

// queue hands a packet over, or lets it pass where nobody listens.
func (r *PeerRules) queue(form fw.QueueForm) expr.Any {
	if form == fw.Native {
		return &expr.Queue{Num: r.Queue, Flag: expr.QueueFlagBypass}
	}
	const bypass = 1 // struct xt_NFQ_info_v3
	info := binary.NativeEndian.AppendUint16(nil, r.Queue)
	info = binary.NativeEndian.AppendUint16(info, 1)
	info = binary.NativeEndian.AppendUint16(info, bypass)
	target := xt.Unknown(append(info, 0, 0))
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &target}
}

// Queue tells of one of the host's queues how many packets have been put into it, and
// whether a program serves it.
func (h *Host) Queue(number uint16) (packets uint64, served bool, err error) {
	err = h.Do(func() error {
		b, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		packets, served = queueLine(string(b), number)
		return err
	})
	return packets, served, err
}

// queueLine finds a queue in the kernel's list (seq_show in
// net/netfilter/nfnetlink_queue.c): its number, and as the eighth that of its last
// packet.
func queueLine(list string, number uint16) (packets uint64, served bool) {
	for _, line := range strings.Split(list, "\n") {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] != strconv.Itoa(int(number)) {
			continue
		}
		n, err := strconv.ParseUint(f[7], 10, 64)
		return n, err == nil
	}
	return 0, false
}
