package netif

import (
	"time"

	"b4/rtnl"
)

// Retry is how long to Wait while WAN.Down is not empty or Resolve fails:
// netifd calls an interface up only just after its route appears in the
// kernel, and neither that nor its own return is told by rtnetlink.
const Retry = 5 * time.Second

// A Watcher tells when Resolve may have another answer.
type Watcher = rtnl.Watcher

// Watch subscribes to what the kernel says of devices, addresses and default
// routes of the calling thread's network namespace. Subscribe first, resolve
// then: what changes in between is reported.
func Watch() (*Watcher, error) { return rtnl.Watch(rtnl.Links | rtnl.Addrs | rtnl.Routes) }
