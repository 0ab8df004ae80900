package lab

import (
	"testing"

	"b4/control"
)

// What it costs b4d to be asked, as an open page does every few seconds.
func BenchmarkPoll(b *testing.B) {
	for _, engine := range testEngines() {
		for _, method := range []string{"status", "counters", "recent"} {
			b.Run(engine+"/"+method, func(b *testing.B) {
				l, err := New(Options{})
				if err != nil {
					b.Skip(err)
				}
				defer l.Close()
				path, err := program()
				if err != nil {
					b.Fatal(err)
				}
				d, err := l.StartB4D(path, configure(engine))
				if err != nil {
					b.Fatal(err)
				}
				defer d.Stop()
				for i := range 8 {
					if err := l.Open(Request{Host: []string{Blocked, Allowed}[i&1]}); err != nil {
						b.Fatal(err)
					}
				}
				before, err := d.CPU()
				if err != nil {
					b.Fatal(err)
				}
				for range b.N {
					if err := control.Call(d.Socket, method, nil, nil); err != nil {
						b.Fatal(err)
					}
				}
				after, err := d.CPU()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64((after-before).Microseconds())/float64(b.N), "b4d-µs/op")
			})
		}
	}
}
