package tun_test

import (
	"testing"

	"b4/engine"
	"b4/tun"

	"golang.org/x/sys/unix"
)

// A connection whose packets cannot be sent goes on without b4, unless the kernel
// could not send them either.
func TestForgo(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for errno, done := range map[error]bool{
			unix.EPERM: true, unix.EMSGSIZE: true, unix.ENETDOWN: false, unix.ENETUNREACH: false, unix.ENOBUFS: false,
		} {
			for _, v := range []engine.Verdict{engine.Accept, engine.Replace} {
				s := script{v: v, pieces: []string{"a", "b"}}
				e, reported := serve(t, tun.Config{Signal: true}, &s)
				e.FailSend(errno)
				if o := e.Push(tcp(v6, 100)); len(o.Wire) != 0 || len(o.Back) > 0 != done {
					t.Errorf("%v: left %q, written back %q", errno, o.Wire, o.Back)
				}
				if n := e.Counters(); n.SendFailed == 0 || n.Accepted+n.Replaced+n.Sent != 0 || len(*reported) == 0 {
					t.Errorf("%v: counters %+v, reported %v", errno, n, *reported)
				}
			}
		}
	}
}
