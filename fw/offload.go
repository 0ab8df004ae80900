package fw

// An Offload says what of the firewall's flow offload hellos are to be hidden from,
// see [ReadOffload]. UDP is hidden for a queue only.
type Offload struct{ TCP, UDP bool }

// offloadChains keep early packets in the slow path.
func (c *Config) offloadChains() []chain { return nil }
