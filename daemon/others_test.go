package daemon

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"b4/engine"
	"b4/nfq"
	"b4/nstest"
)

func TestParseListener(t *testing.T) {
	for _, tt := range []struct {
		line string
		want listener
		ok   bool
	}{
		{"  200   4711     0 2 65531     0     0        7  1\n", listener{200, 4711}, true},
		{"  538 4294963199     0 2 16531     0     0        0  1\n", listener{538, 4294963199}, true}, // not its first socket
		{"65535 1 0\n", listener{65535, 1}, true},
		{"", listener{}, false}, {"\n", listener{}, false}, {"200\n", listener{}, false}, {"200 x 0\n", listener{}, false}, {"x 1 0\n", listener{}, false},
		{"65536 1 0\n", listener{}, false}, {"1 4294967296 0\n", listener{}, false}, {"-1 1 0", listener{}, false},
	} {
		var l listener
		if ok := l.parse([]byte(tt.line)); ok != tt.ok || ok && l != tt.want {
			t.Errorf("%q: %v, %v", tt.line, l, ok)
		}
	}
}

func FuzzListener(f *testing.F) {
	f.Add([]byte("  200   4711     0 2 65531     0     0        7  1\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var l listener
		if text := fmt.Sprint(l.queue, " ", l.portid); l.parse(line) && len(text) > len(line)+2 {
			t.Errorf("%s of %d bytes", text, len(line))
		}
	})
}

// Queues are ours where the engine serves them, and only then.
func TestOwns(t *testing.T) {
	for _, tt := range []struct {
		conf string
		ours []uint16
	}{
		{"", []uint16{537}},
		{"\toption steer 'all'\n", []uint16{537, 538}},
		{"\toption queue_num '65535'\n\toption steer 'all'\n", []uint16{65535, 0}},
	} {
		d := &Daemon{set: settingsOf(t, enabled+tt.conf), core: &core{}}
		for queue := range 1 << 16 {
			if got, want := d.owns(uint16(queue)), slices.Contains(tt.ours, uint16(queue)); got != want {
				t.Errorf("%q: queue %d is ours: %v", tt.conf, queue, got)
			}
		}
		if d.core = nil; d.owns(tt.ours[0]) {
			t.Errorf("%q: a queue is ours without an engine", tt.conf)
		}
	}
}

// A program is listed once, with all its queues, as far as it is known whose they are.
func TestOthers(t *testing.T) {
	const first, second, further, more = "  200 123 0\n", "  300 124 0\n", "  201 4294963199 0\n", "  202 4294963198 0\n"
	for _, tt := range []struct{ what, lines, want string }{
		{"one socket with several queues", first + "  201 123 0\n", `["nfqws" "200, 201"]`},
		{"several processes", first + "  201 125 0\n", `["nfqws" "200, 201"]`},
		{"several sockets", first + further + more, `["nfqws" "200, 201, 202"]`},
		{"several sockets, another first", further + first + more, `["nfqws" "200, 201, 202"]`},
		{"two programs", first + second, `["nfqws" "200"] ["youtubeUnblock" "300"]`},
		{"two programs, and sockets of either", further + first + more + second, `["?" "201, 202"] ["nfqws" "200"] ["youtubeUnblock" "300"]`},
		{"of none that is known", further + more, `["?" "201, 202"]`},
		{"one that the jail hides", "  200 4711 0\n" + further, `["PID 4711" "200, 201"]`},
	} {
		k := newFake(t)
		k.files[listenersPath] = tt.lines
		k.files["/proc/123/comm"], k.files["/proc/125/comm"], k.files["/proc/124/comm"] = "nfqws\n", "nfqws\n", "youtubeUnblock\n"
		d := &Daemon{kernel: k, set: settingsOf(t, enabled), core: &core{}}
		var f findings
		d.others(&f)
		var got []string
		for _, one := range f {
			got = append(got, fmt.Sprintf("%q", one.Args))
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, text, tt.want)
		}
	}
}

// A listener of this process in a namespace is found, by its name and queue.
func TestKernelListeners(t *testing.T) {
	nstest.Enter(t)
	read := func() (list []listener) {
		var l listener
		eachLine(linux{}, listenersPath, func(line []byte) bool {
			if !l.parse(line) {
				t.Errorf("a line that means nothing: %q", line)
			}
			list = append(list, l)
			return true
		})
		return list
	}
	if got := read(); len(got) > 0 {
		t.Fatalf("an empty namespace has listeners: %v", got)
	}
	e := nfq.New(nfq.Config{Num: 200, Len: 16, Send: discard{}, Report: func(error) {}})
	if err := e.Start(); err != nil {
		t.Skip("no NFQUEUE: ", err)
	}
	ended := make(chan error)
	go func() { ended <- e.Run(idler{}) }()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	list := read()
	if len(list) != 1 || list[0].queue != 200 {
		t.Fatalf("%v", list)
	}
	// The socket is not the first of netfilter's that this process has had, so it may
	// have another number.
	want := "b4/daemon"
	if comm, err := os.ReadFile("/proc/self/comm"); err == nil {
		want = strings.TrimSpace(string(comm))
	}
	if got := program(linux{}, uint32(os.Getpid())); got != want {
		t.Errorf("program %q, want %q", got, want)
	}
	if got := program(linux{}, list[0].portid); got != want && got != unknown {
		t.Errorf("the listener is %q", got)
	}
	if got := program(linux{}, 1<<22+1); got != "PID 4194305" {
		t.Errorf("a process that cannot be seen is %q", got)
	}
}

// discard sends nothing.
type discard struct{}

func (discard) Send(outs []engine.Out) (int, error) { return len(outs), nil }

// idler lets everything pass.
type idler struct{}

func (idler) Handle(time.Time, *engine.Packet, *engine.Batch) engine.Verdict { return engine.Accept }
func (idler) Tick(time.Time, *engine.Batch) time.Duration                    { return time.Minute }
func (idler) Drain(*engine.Batch)                                            {}
