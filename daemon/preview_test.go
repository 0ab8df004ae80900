package daemon

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"b4/desync"
)

// summary is the packets of a preview, a line each.
func summary(v *Preview) string {
	var lines []string
	for _, p := range v.Packets {
		line := fmt.Sprintf("%d-%d", p.From, p.To)
		if p.Decoy {
			line += " decoy"
		}
		lines = append(lines, fmt.Sprintf("%s ttl %d +%d: %s", line, p.TTL, p.After, p.Text))
	}
	return strings.Join(lines, "\n")
}

func TestPreview(t *testing.T) {
	t.Parallel()
	tests := []struct {
		proto desync.Proto
		text  string
		want  string
	}{
		{desync.TLS, "", "0-517 ttl 64 +0: bytes 0-517, ttl 64"},
		{desync.TLS, "fake(ttl=auto-1) split(midsld) disorder", `
111-517 ttl 64 +0: bytes 111-517, ttl 64
0-517 decoy ttl 7 +0: bytes 0-517, ttl 7
0-111 ttl 64 +0: bytes 0-111, ttl 64`},
		{desync.TLS, "fake(ts, hopbyhop, md5) fake(badsum, place=after)", `
0-517 decoy ttl 64 +0: bytes 0-517, ttl 64, md5 option
0-517 ttl 64 +0: bytes 0-517, ttl 64
0-517 decoy ttl 64 +0: bytes 0-517, ttl 64, bad checksum`},
		{desync.TLS, "seqovl(8) split(1) delay(20)", `
-8-1 ttl 64 +0: bytes -8-1, ttl 64
1-517 ttl 64 +20: bytes 1-517, ttl 64, 20ms later`},
		{desync.TLS, "synfake(ttl=3) syndata", `
0-0 decoy ttl 3 +0: bytes 0-0, ttl 3, syn
0-517 decoy ttl 64 +0: bytes 0-517, ttl 64, syn
0-517 ttl 64 +0: bytes 0-517, ttl 64`},
		{desync.TLS, "seqovl(8) ipfrag(40)", `
-8-0 ttl 64 +0: fragment, bytes 0-40 of the datagram, ttl 64
0-517 ttl 64 +0: fragment, bytes 40-557 of the datagram, ttl 64`},
		{desync.TLS, "rst(badsum, place=after) ipfrag(48)", `
0-16 ttl 64 +0: fragment, bytes 0-48 of the datagram, ttl 64
16-517 ttl 64 +0: fragment, bytes 48-549 of the datagram, ttl 64
517-517 decoy ttl 64 +0: bytes 517-517, ttl 64, rst, bad checksum`},
		{desync.TLS, "fake(file=/is/not/read, ttl=2)", `
0-512 decoy ttl 2 +0: bytes 0-512, ttl 2
0-517 ttl 64 +0: bytes 0-517, ttl 64`},
		{desync.HTTP, "hostcase split(host)", `
0-22 ttl 64 +0: bytes 0-22, ttl 64
22-79 ttl 64 +0: bytes 22-79, ttl 64`},
		{desync.HTTP, strings.Repeat("hostcase ", 3) + strings.Repeat("fake(ttl=1, repeat=10, place=each) split(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) ", 5),
			"0-79 ttl 64 +0: bytes 0-79, ttl 64"}, // too many segments: only what rewrites it is done
		{desync.TLS, strings.Repeat("fake(ttl=1, repeat=10, place=each) split(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) ", 5),
			"0-517 ttl 64 +0: bytes 0-517, ttl 64: as it came, the steps make more than 512 segments of this message"},
		{desync.QUIC, "fake(ttl=5) split(midsld) ipfrag(8) delay(1)", `
0-1200 decoy ttl 5 +0: fragment, bytes 8-1208 of the datagram, ttl 5
0-0 decoy ttl 5 +0: fragment, bytes 0-8 of the datagram, ttl 5
0-1200 ttl 64 +1: fragment, bytes 8-1208 of the datagram, ttl 64, 1ms later
0-0 ttl 64 +1: fragment, bytes 0-8 of the datagram, ttl 64, 1ms later`},
		{desync.QUIC, "pad(1300)", "0-1300 ttl 64 +0: udp of 1300 bytes, ttl 64"},
	}
	for _, tt := range tests {
		v := preview(tt.proto, tt.text)
		if got := summary(v); v.Error != nil || got != strings.TrimSpace(tt.want) {
			t.Errorf("%v %q: %v\n%s\nwant\n%s", tt.proto, tt.text, v.Error, got, tt.want)
		}
		if again := preview(tt.proto, tt.text); !reflect.DeepEqual(v, again) {
			t.Errorf("%v %q: another time\n%+v\n%+v", tt.proto, tt.text, v, again)
		}
	}
}

// What nobody looks at is counted. Three of the packets are too short for fragments.
func TestPreviewOfMany(t *testing.T) {
	t.Parallel()
	v := preview(desync.TLS, strings.Repeat("fake(ttl=1, repeat=10) ", 10)+"split(1, 2, 3) ipfrag(24) dup(5)")
	if text, _ := json.Marshal(v); len(v.Packets) != maxShown || v.More != 6*(2*101+3)-maxShown || len(text) > 64<<10 {
		t.Errorf("%d packets, %d more, %d bytes", len(v.Packets), v.More, len(text))
	}
}

// What a page gets.
func TestPreviewAsked(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	const marks = `"host":"www.example.org","length":517,"marks":[{"name":"exts","at":94},{"name":"sniext","at":94},{"name":"host","at":103},` +
		`{"name":"sld","at":107},{"name":"midsld","at":111},{"name":"endsld","at":114},{"name":"endhost","at":118},{"name":"alpn","at":142}]`
	for _, tt := range []struct{ params, want string }{
		{`{"proto":"tls","text":" syndata  split( host )"}`, `{"text":"syndata(sni=www.w3.org) split(host)","harm":"decoys","wants":"has b4 shown SYNs","error":null,` +
			`"steps":["syndata(sni=www.w3.org)","split(host)"],` + marks + `,"packets":[` +
			`{"from":0,"to":517,"decoy":true,"ttl":64,"after":0,"text":"bytes 0-517, ttl 64, syn"},` +
			`{"from":0,"to":103,"decoy":false,"ttl":64,"after":0,"text":"bytes 0-103, ttl 64"},` +
			`{"from":103,"to":517,"decoy":false,"ttl":64,"after":0,"text":"bytes 103-517, ttl 64"}],"more":0}`},
		{`{"proto":"tls","text":"disorder split(0)"}`, `{"text":"disorder split(0)","harm":"nothing","wants":"","error":{"pos":15,"text":"position 0 cuts nothing off"},` +
			`"steps":[],` + marks + `,"packets":[],"more":0}`},
		{`{"proto":"dns","text":""}`, `preview: parameter proto is "dns": want tls, http or quic`},
		{`{}`, `preview: parameter proto is "": want tls, http or quic`},
	} {
		if got := r.ask("preview", tt.params); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.params, got, tt.want)
		}
	}
}

// Whatever is written, there is an error or all of the message leaves.
func FuzzPreview(f *testing.F) {
	for _, step := range desync.Steps() {
		for i := range desync.Protos {
			f.Add(uint8(i), step.Usage())
		}
	}
	f.Add(uint8(0), "synfake(ttl=3) syndata fake(ttl=auto) split(1, midsld) seqovl(9) disorder ipfrag(24) dup(2) delay(3)")
	f.Add(uint8(1), "hostdot domcase hostnospace split(host) ipfrag(24)")
	f.Add(uint8(2), "fake(clone) split(1, midsld) disorder pad(1300) udplen(7) ipfrag(8) dup(1)")
	f.Fuzz(func(t *testing.T, proto uint8, text string) {
		pr := desync.Proto(proto % uint8(desync.Protos))
		v := preview(pr, text)
		if _, err := json.Marshal(v); err != nil {
			t.Fatal(err)
		}
		if v.Error != nil {
			if len(v.Packets)+len(v.Steps) > 0 || v.Error.Pos < 0 || v.Error.Pos > len(text) {
				t.Fatalf("%+v", v)
			}
			return
		}
		if v.More > 0 {
			return
		}
		left := make([]bool, v.Length)
		for _, p := range v.Packets {
			if p.From < -1200 || p.To < p.From || p.TTL == 0 || p.After < 0 {
				t.Fatalf("%q: %+v", text, p)
			}
			for i := max(p.From, 0); !p.Decoy && i < min(p.To, v.Length); i++ {
				left[i] = true
			}
		}
		for i, ok := range left {
			if !ok {
				t.Fatalf("%q: byte %d never leaves: %s", text, i, summary(v))
			}
		}
		if again := preview(pr, v.Text); summary(again) != summary(v) || again.Text != v.Text {
			t.Fatalf("%q and %q differ", text, v.Text)
		}
	})
}
