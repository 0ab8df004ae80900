package fw

import "golang.org/x/sys/unix"

// toDevice labels what leaves by the TUN with the groups of its connection. Of the
// packet's mark the TUN knows nothing; what it carries is the packet. So they stand, the
// bit of group i as 1 << i, in TCP's urgent pointer, which means nothing without the flag
// URG: package tun takes them off again. What has an extension header, or the flag, it is
// told of no group.
func (c *Config) toDevice() (rules []rule) {
	if len(c.Devices.Groups) == 0 {
		return nil
	}
	steer := c.Marks.Steer
	for _, f := range c.families() {
		rules = append(rules, rule{
			isDevice{oifname, c.Tun.Device}, nfproto(f.number), isProtocol{f.number, unix.IPPROTO_TCP},
			tcpFlags{urg, 0}, clearBits{metaMark, steer}, gotoChain("labelled"),
		})
	}
	return rules
}

// labelled begins with a clean pointer: without the flag some may leave rubbish there.
func (c *Config) labelled() []chain {
	if len(c.Devices.Groups) == 0 {
		return nil
	}
	rules := []rule{{urgentSet{}, changeUrgent{0, 0}}}
	for i := range c.Devices.Groups {
		rules = append(rules, rule{bits{ctMark, c.Marks.Group(i), true}, changeUrgent{0xff, 1 << i}})
	}
	return []chain{{"labelled", nil, rules}}
}
