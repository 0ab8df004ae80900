package fw

// An Offloading is what [ReadOffload] found.
type Offloading struct {
	Hide     Offload  // for Config.Offload: what can be hidden from
	Devices  []string // of the flowtables, in order
	Hardware string   // a flowtable that the hardware takes connections from, "inet fw4 ft"; "" if there is none
	Missed   string   // why some hellos are missed all the same, in words; "" if none are
}

// ReadOffload reads from all tables but ours which connections the firewall
// offloads. Those to the UDP ports udp that leave by one of the devices wan are
// looked at more closely: as UDP has no flag that could veto it, hiding changes the
// protocol that the firewall sees, and is not to be where that would have it
// decide otherwise.
func ReadOffload(wan []string, udp []uint16) (Offloading, error) { return Offloading{}, nil }
