package daemon

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"b4/engine"
	"b4/packet"
	"b4/tlshello"
)

// reloadTo reads another configuration, and returns when it is in force.
func (r *running) reloadTo(conf string) {
	r.t.Helper()
	r.write(conf)
	done := make(chan error, 1)
	r.d.reloads <- done
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

// refuse reads one that is refused.
func (r *running) refuse(conf string) {
	r.t.Helper()
	r.write(conf)
	done := make(chan error, 1)
	r.d.reloads <- done
	if err := <-done; err == nil {
		r.t.Fatal("not refused")
	}
}

// tunConf is what a reload to engine tun reads.
const tunConf = "config b4 'main'\n\toption enabled '1'\n\toption engine 'tun'\n"

// pushAny gives a packet to the engine that runs, and returns what left.
func pushAny(r *running, b []byte) [][]byte {
	if r.status().Engine.Name == engineTun {
		return get(r.fake, func() func([]byte) [][]byte {
			e := r.tun
			return func(b []byte) [][]byte { o := e.Push(b); return append(o.Wire, o.Back...) }
		})(b)
	}
	return get(r.fake, func() func([]byte) [][]byte {
		q := r.queue
		return func(b []byte) [][]byte { return q.Push(engine.Packet{Bytes: b}).Wire }
	})(b)
}

// However often the configuration changes, by rules, strategies, WAN or engine,
// b4d does not grow.
func TestThousandReloads(t *testing.T) { // alone, as the others' memory counts too
	const few = "\toption max_flows '64'\n" // which a reload does not forget
	r := start(t, newFake(t), enabled+few)
	confs := []string{
		enabled + "\tlist tcp_port '443'\n\tlist tcp_port '8443'\nconfig rule 'a'\n\tlist domain 'a.example'\n\toption action 'pass'\nconfig rule 'b'\n",
		enabled + "\tlist wan 'wan0'\n\toption observe '1'\n",
		enabled + "config strategy 'default'\n\toption tls 'split(1, midsld) disorder'\n\toption quic 'split(midsld)'\n",
		tunConf,
	}
	round := func(from, to int) {
		for i := from; i < to; i++ {
			r.reloadTo(strings.Replace(confs[i%len(confs)], "'1'\n", "'1'\n"+few, 1))
			pushAny(r, hello(fmt.Sprintf("n%d.blocked.example", i), uint16(i)).Bytes)
		}
	}
	const warm, all = 100, 1000
	round(0, warm)
	heap, routines, open := inUse(), runtime.NumGoroutine(), fmt.Sprint(r.left())
	round(warm, all)
	const slack = 256 << 10 // bytes: what the runtime keeps differs from time to time
	if now, ok := falls(inUse, heap+slack); !ok {
		t.Errorf("%d bytes in use after %d reloads, %d after %d", now, all, heap, warm)
	}
	if n, ok := falls(runtime.NumGoroutine, routines+10); !ok {
		t.Errorf("%d goroutines, %d before", n, routines)
	}
	if now := fmt.Sprint(r.left()); now != open {
		t.Errorf("open: %s, before: %s", now, open)
	}
}

// falls waits until there is no more than most: some are just ending.
func falls[N int | uint64](ask func() N, most N) (now N, ok bool) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if now = ask(); now <= most || time.Now().After(end) {
			return now, now <= most
		}
	}
}

// inUse is what the heap holds that is not garbage, in bytes.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A hello of which b4d has the first half when a reload comes is treated when
// the rest comes, whatever the reload changes: nobody sees the name.
func TestReloadAmidHello(t *testing.T) {
	t.Parallel()
	const name = "www.blocked.example"
	whole := tlshello.AppendDecoy(nil, name, 1)
	cut := bytes.Index(whole, []byte(name)) - 1
	segment := func(from, to int, port uint16) []byte {
		s := packet.Segment{
			Src: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), Dst: netip.MustParseAddrPort("198.51.100.7:443"),
			Seq: 1 + uint32(from), Ack: 1, Flags: packet.ACK | packet.PSH, Payload: whole[from:to],
		}
		return s.Append(nil)
	}
	for i, tt := range []struct {
		what, before, after string
		fails               string // a step, by which the reload is refused
	}{
		{"nothing", enabled, enabled, ""},
		{"rules", enabled, enabled + "config rule 'other'\n\tlist domain 'other.example'\n\toption action 'pass'\nconfig rule 'all'\n", ""},
		{"ports", enabled, enabled + "\tlist tcp_port '443'\n\tlist tcp_port '8443'\n", ""},
		{"strategy", enabled, enabled + "config strategy 'default'\n\toption tls 'split(midsld)'\n", ""},
		{"WAN", enabled, enabled + "\tlist wan 'ppp0'\n", ""},
		{"queue", enabled, enabled + "\toption queue_num '600'\n", ""},
		{"to tun", enabled, tunConf, ""},
		{"from tun", tunConf, enabled, ""},
		{"nothing, as it is refused", enabled, tunConf, "routes"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			r, port := start(t, newFake(t), tt.before), 40000+uint16(i)
			wire := pushAny(r, segment(0, cut, port))
			if tt.fails == "" {
				r.reloadTo(tt.after)
			} else {
				r.set(func() { r.fail[tt.fails] = true })
				r.refuse(tt.after)
			}
			wire = append(wire, pushAny(r, segment(cut, len(whole), port))...)
			for _, p := range wire {
				if bytes.Contains(p, []byte(name)) {
					t.Errorf("the name is in a packet of %d bytes", len(p))
				}
			}
			if len(wire) < 2 {
				t.Errorf("%d packets", len(wire))
			}
		})
	}
}
