package main

import (
	"b4/control"
	"b4/lab"
)

// seen is how many packets b4d has seen.
func seen(d *lab.B4D) (uint64, error) {
	var n struct {
		Engine struct {
			Read uint64 `json:"read"`
		} `json:"engine"`
	}
	err := control.Call(d.Socket, "counters", nil, &n)
	return n.Engine.Read, err
}
