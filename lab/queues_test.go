package lab

import (
	"runtime"
	"testing"
)

// With two queues blocked sites open, nothing is lost on the way, and each packet that
// was put into one of them has been read.
func TestQueues(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("b4d takes no more queues than there are processors")
	}
	for name, options := range map[string][]string{"decisive": nil, "all": {steerAll}} {
		t.Run(name, func(t *testing.T) {
			l := build(t, Options{})
			d := launchB4D(t, l, configure("nfqueue", append(options, "option queues '2'")...))
			askers(t, func(t *testing.T, r Request) {
				for _, hello := range []Hello{Small, PostQuantum} {
					r := r
					r.Hello = hello
					if err := l.CheckOpen(profile(t), r); err != nil {
						t.Errorf("%v hello: %v", hello, err)
					}
				}
				if err := l.Download(r, 4<<20); err != nil {
					t.Error(err)
				}
			})
			var put uint64
			for i := range uint16(2) {
				n, served, err := l.Router.Queue(537 + i)
				if err != nil || !served {
					t.Errorf("queue %d is served: %v, %v", 537+i, served, err)
				}
				put += n
			}
			n := mustStatus(t, d).Engine.Counters
			if n.Lost+n.SendFailed > 0 || n.Read == 0 || len(options) == 0 && n.Read != put {
				t.Errorf("%d packets in the queues, counters %+v", put, n)
			}
		})
	}
}
