// Package flow keeps what must be remembered of a connection until its first
// message is whole: a bounded table of flows, the segments of the message, and
// copies of packets that wait for the rest. It tells no time: every call that
// depends on it is given now.
package flow
