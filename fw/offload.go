package fw

// An Offload says what of the firewall's flow offload hellos are to be hidden from.
type Offload struct {
	TCP     bool     // there is a flowtable that TCP connections are put into
	Devices []string // of UDP's flowtables: what comes in by them may pass the rules by
}

// offloadChains keep early packets in the slow path.
func (c *Config) offloadChains() []chain { return nil }
