package daemon

import (
	"errors"

	"b4/fw"

	"golang.org/x/sys/unix"
)

// A house is what the house's firewall does that our rules have to heed.
type house struct {
	scatter scatter
	offload offload
}

// findHouse asks about the devices that a queue stands behind, as far as s has to
// know.
func findHouse(k kernel, s *settings, devices []string) house {
	return house{findScatter(k, s, devices), findOffload(k, devices, s.udp)}
}

// An offload is what the firewall offloads, past our rules.
type offload struct {
	fw.Offloading
	err error // why that is not known; hellos are then hidden from nothing
}

func findOffload(k kernel, devices []string, udp []uint16) (o offload) {
	o.Offloading, o.err = k.readOffload(devices, udp)
	if errors.Is(o.err, unix.EPERM) {
		o.err = nil // check without root asks nobody
	}
	return o
}

// notes says what is not as it should be. The sentences lack their points.
func (o *offload) notes() (notes findings) {
	notes.say(o.err != nil, "offload_unread", "Whether the firewall offloads flows cannot be read, so hellos of those may be missed: %v", o.err)
	notes.say(o.Hardware != "", "offload_hardware", "The firewall has flows offloaded by hardware (%s), which b4 cannot see into: "+
		"if sites stay blocked, set flow_offloading_hw to 0 in /etc/config/firewall and restart the firewall; offloading by software may stay on", o.Hardware)
	notes.say(o.By != "", "offload_missed", "Flow offloading: %s %s", o.By, o.Missed)
	return notes
}
