package censor

import (
	"bytes"
	"testing"
)

func edited(b []byte, at int, with ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

func TestReadHello(t *testing.T) {
	h := hello(t, blockedName, false)
	at := nameAt(t, h, blockedName)
	first := at - len(blockedName)/2 // of the name
	split := splitRecord(h, at-recordHeader)
	join := Profile{JoinRecords: true}
	tests := []struct {
		name string
		p    Profile
		in   []byte
		want status
		host string
	}{
		{"whole", Profile{}, h, whole, blockedName},
		{"and more behind it", Profile{}, append(bytes.Clone(h), 20, 3, 3), whole, blockedName},
		{"up to the name", Profile{}, h[:first+len(blockedName)], whole, blockedName},
		{"up to the name, whole wanted", Profile{WholeHello: true}, h[:first+len(blockedName)], partial, ""},
		{"within the name", Profile{}, h[:at], partial, ""},
		{"record header cut", Profile{}, h[:3], partial, ""},
		{"message header cut", Profile{}, h[:7], partial, ""},
		{"application data", Profile{}, edited(h, 0, 23), alien, ""},
		{"SSL 2", Profile{}, edited(h, 1, 2), alien, ""},
		{"empty record", Profile{}, edited(h, 3, 0, 0), alien, ""},
		{"record too long", Profile{}, edited(h, 3, 0x40, 1), alien, ""},
		{"ServerHello", Profile{}, edited(h, 5, 2), alien, ""},
		{"message too long", Profile{}, edited(h, 6, 1), alien, ""},
		{"message too long, joining", join, edited(h, 6, 1), alien, ""},
		{"message shorter than its lists", Profile{}, edited(h, 7, 0, 80), alien, ""},
		{"message shorter than its lists, record cut", Profile{}, edited(h, 7, 0, 80)[:120], alien, ""},
		{"empty record ahead, joining", join, append([]byte{22, 3, 1, 0, 0}, h...), alien, ""},
		{"message longer than its record", Profile{}, edited(h, 7, 0x20), whole, blockedName},
		{"message longer than its record, whole wanted", Profile{WholeHello: true}, edited(h, 7, 0x20), alien, ""},
		{"two records", Profile{}, split, alien, ""},
		{"two records, joining", join, split, whole, blockedName},
		{"first of two records, joining", join, split[:at], partial, ""},
		{"second record cut, joining", join, split[:at+7], partial, ""},
		{"second is no handshake, joining", join, edited(split, at, 23), alien, ""},
		{"no name", Profile{}, clientHelloWithout(t), whole, ""},
	}
	for _, tt := range tests {
		p := tt.p.withDefaults()
		var scratch []byte
		name, st := p.readHello(tt.in, &scratch)
		if st != tt.want || string(name) != tt.host {
			t.Errorf("%s: %q, status %d, want %q, %d", tt.name, name, st, tt.host, tt.want)
		}
	}
}

// clientHelloWithout is a hello without a name: a client sends none for an address.
func clientHelloWithout(t *testing.T) []byte { return hello(t, "192.0.2.9", false) }

func FuzzReadHello(f *testing.F) {
	h := hello(f, blockedName, false)
	f.Add(h, false, false)
	f.Add(splitRecord(h, 60), true, false)
	f.Add(h[:100], false, true)
	f.Fuzz(func(t *testing.T, b []byte, join, wholeHello bool) {
		p := Profile{JoinRecords: join, WholeHello: wholeHello}.withDefaults()
		var scratch []byte
		name, st := p.readHello(b, &scratch)
		if !bytes.Contains(append(scratch, b...), name) || len(name) > 0 && st != whole {
			t.Errorf("%q, status %d", name, st)
		}
	})
}

func TestStats(t *testing.T) {
	w := newWire(t, profile(t, "gfw-2022"), families[0])
	w.open()
	w.send(0, hello(t, otherName, false))
	w.send(0, hello(t, blockedName, false))
	w.send(0, hello(t, blockedName, false)) // hit by its address, not read
	want := Stats{Packets: 6, Hellos: 2, Blocked: 1, Injected: 16, Flows: 1}
	if got := w.c.Stats(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
