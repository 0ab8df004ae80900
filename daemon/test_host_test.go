package daemon

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What it says is what the pipeline chooses.
func TestTestHost(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(file, []byte("video.example\ncdn.video.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := `
config rule 'bank'
	list domain 'bank.example'
	list not 'ads.bank.example'
	option action 'pass'
config rule 'video'
	option domain_file '` + file + `'
	option strategy 'split(1)'
config rule 'ads'
	list domain 'ads.bank.example'
	list domain 'example.org'
	option action 'drop'
`
	none, all := conf, conf+"config rule 'rest'\n\tlist not 'example.net'\n"
	const rest = `"action":"desync","strategy":"default","tls":"split(midsld) disorder","http":"","quic":"","quic_action":"desync"`
	tests := []struct{ conf, host, want string }{
		{all, "My.Bank.Example.", `{"host":"my.bank.example","steps":[{"rule":"bank","why":"matches","by":"bank.example"}],"rule":"bank","action":"pass","strategy":"","tls":"","http":"","quic":"","quic_action":"pass"}`},
		{all, "x.ads.bank.example", `{"host":"x.ads.bank.example","steps":[{"rule":"bank","why":"excluded","by":"ads.bank.example"},{"rule":"video","why":"no_name","by":""},` +
			`{"rule":"ads","why":"matches","by":"ads.bank.example"}],"rule":"ads","action":"drop","strategy":"","tls":"","http":"","quic":"","quic_action":"drop"}`},
		{all, "a.cdn.video.example", `{"host":"a.cdn.video.example","steps":[{"rule":"bank","why":"no_name","by":""},{"rule":"video","why":"matches","by":"video.example"}],` +
			`"rule":"video","action":"desync","strategy":"video.strategy","tls":"split(1)","http":"","quic":"","quic_action":"desync"}`},
		{all, "xvideo.example", `{"host":"xvideo.example","steps":[{"rule":"bank","why":"no_name","by":""},{"rule":"video","why":"no_name","by":""},{"rule":"ads","why":"no_name","by":""},` +
			`{"rule":"rest","why":"matches","by":"*"}],"rule":"rest",` + rest + `}`},
		{all, "example.net", `{"host":"example.net","steps":[{"rule":"bank","why":"no_name","by":""},{"rule":"video","why":"no_name","by":""},{"rule":"ads","why":"no_name","by":""},` +
			`{"rule":"rest","why":"excluded","by":"example.net"}],"rule":"","action":"","strategy":"","tls":"","http":"","quic":"","quic_action":""}`},
		{none, "example.net", `{"host":"example.net","steps":[{"rule":"bank","why":"no_name","by":""},{"rule":"video","why":"no_name","by":""},{"rule":"ads","why":"no_name","by":""}],` +
			`"rule":"","action":"","strategy":"","tls":"","http":"","quic":"","quic_action":""}`},
		{"", "example.net", `{"host":"example.net","steps":[{"rule":"all","why":"matches","by":"*"}],"rule":"all",` + rest + `}`},
	}
	for _, tt := range tests {
		s := settingsOf(t, tt.conf)
		got, err := s.testHost(TestHostRequest{Host: tt.host})
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(got); string(text) != tt.want {
			t.Errorf("%s:\n%s\n%s", tt.host, text, tt.want)
		}
		chooses(t, s, TestHostRequest{Host: tt.host}, got)
	}
	for _, bad := range []string{"", "*", "*.example.org", ".example.org", "a b", "a..b", "a/b", strings.Repeat("x", 254), "a\x00"} {
		if got, err := settingsOf(t, all).testHost(TestHostRequest{Host: bad}); err == nil || !strings.HasPrefix(err.Error(), "parameter host: ") {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

// chooses compares what test_host says with what the pipeline does.
func chooses(t *testing.T, s *settings, q TestHostRequest, got *HostTest) {
	t.Helper()
	a, err := q.read()
	if err != nil {
		t.Fatal(err)
	}
	mark, chosen := uint32(0), ""
	for i := range s.pipe.Rules {
		r, conf := &s.pipe.Rules[i], &s.conf.Rules[i]
		if forAll(conf) || !a.is(conf) {
			continue
		}
		if mark |= r.Groups; r.Unseen { // it is the kernel that lets them pass
			chosen = r.Name
			break
		}
	}
	port := a.port
	if port == 0 {
		port = s.tcp[0]
	}
	if r := s.pipe.Choose([]byte(a.host), mark, netip.AddrPortFrom(a.server, port)); r != nil && (chosen == "" || got.Rule == r.Name && r.Name == "main.never") {
		chosen = r.Name
	}
	if got.Rule != chosen {
		t.Errorf("%+v: says %q, chooses %q", q, got.Rule, chosen)
	}
}

// What depends on who asks, on the port, and on the server's address.
func TestTestHostOf(t *testing.T) {
	t.Parallel()
	dir := lists(t, map[string]string{"never": "bank.example\n192.0.2.80\n", "every": "*\n"})
	const servers = "config rule 'servers'\n\tlist prefix '203.0.113.0/24'\n\tlist prefix '2001:db8::7'\n"
	never := "\toption never '" + dir + "/never'\n"
	devices := never + console + pass + phone + "\tlist domain 'a.example'\n" + guests + "config rule 'p'\n\tlist port '8443'\n" + rest
	every := "config rule 'every'\n\tlist domain_file '" + dir + "/every'\n"
	both := servers + "\tlist domain 'a.example'\n\tlist not 'x.a.example'\n"
	for _, tt := range []struct {
		conf string
		q    TestHostRequest
		want string
	}{
		{devices, TestHostRequest{Host: "my.bank.example"}, "[{main.never matches bank.example}] main.never pass"},
		{devices, TestHostRequest{Host: "192.0.2.80"}, "[{main.never matches 192.0.2.80}] main.never pass"},
		{devices, TestHostRequest{Host: "a.example"}, "[{console devices MAC 00:11:22:aa:bb:cc} {phone devices source 192.168.1.20, fd00::20} {guests devices interface guest} {p ports 8443} {rest matches *}] rest desync"},
		{devices, TestHostRequest{Host: "a.example", Port: 8443}, "[{console devices MAC 00:11:22:aa:bb:cc} {phone devices source 192.168.1.20, fd00::20} {guests devices interface guest} {p matches *}] p desync"},
		{devices, TestHostRequest{Host: "a.example", MAC: "00-11-22-AA-BB-CC"}, "[{console matches *}] console pass"},
		{devices, TestHostRequest{Host: "a.example", MAC: "00:11:22:aa:bb:cd", Address: "192.168.1.20"}, "[{console devices MAC 00:11:22:aa:bb:cc} {phone matches a.example}] phone desync"},
		{devices, TestHostRequest{Host: "b.example", Address: "::ffff:192.168.1.20"}, "[{console devices MAC 00:11:22:aa:bb:cc} {phone no_name } {guests devices interface guest} {p ports 8443} {rest matches *}] rest desync"},
		{servers + rest, TestHostRequest{Host: "203.0.113.9"}, "[{servers matches 203.0.113.0/24}] servers desync"},
		{servers + rest, TestHostRequest{Host: "::ffff:203.0.113.9"}, "[{servers matches 203.0.113.0/24}] servers desync"},
		{servers + rest, TestHostRequest{Host: "2001:db8::7"}, "[{servers matches 2001:db8::7}] servers desync"},
		{servers + rest, TestHostRequest{Host: "2001:db8::8"}, "[{servers prefix 203.0.113.0/24, 2001:db8::7} {rest no_name }]  "},
		{servers + rest, TestHostRequest{Host: "a.example"}, "[{servers prefix 203.0.113.0/24, 2001:db8::7} {rest matches *}] rest desync"},
		{every + servers, TestHostRequest{Host: "a.example"}, "[{every matches *}] every desync"},
		{every + servers, TestHostRequest{Host: "203.0.113.9"}, "[{every no_name } {servers matches 203.0.113.0/24}] servers desync"},
		{both, TestHostRequest{Host: "www.a.example"}, "[{servers matches a.example}] servers desync"},
		{both, TestHostRequest{Host: "x.a.example"}, "[{servers excluded x.a.example}]  "},
		{both, TestHostRequest{Host: "b.example"}, "[{servers prefix 203.0.113.0/24, 2001:db8::7}]  "},
	} {
		s := settingsOf(t, tt.conf)
		h, err := s.testHost(tt.q)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(h.Steps, " ", h.Rule, " ", h.Action); got != tt.want {
			t.Errorf("%+v:\n got %s\nwant %s", tt.q, got, tt.want)
		}
		if tt.q.Host != "192.0.2.80" { // which the kernel does not show
			chooses(t, s, tt.q, h)
		}
	}
	for _, tt := range []struct{ params, want string }{
		{`{"host":"a.example","mac":"01:00:5e:00:00:01"}`, `parameter mac: "01:00:5e:00:00:01": want the MAC of a device, such as 00:11:22:aa:bb:cc`},
		{`{"host":"a.example","address":"laptop"}`, `parameter address: "laptop" is not an address`},
		{`{"host":"a b"}`, `parameter host: host name "a b": unexpected " "`},
		{`{"host":"*"}`, `parameter host: want one host name, and not a pattern`},
	} {
		var q TestHostRequest
		if err := json.Unmarshal([]byte(tt.params), &q); err != nil {
			t.Fatal(err)
		}
		if _, err := settingsOf(t, rest).testHost(q); fmt.Sprint(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.params, err, tt.want)
		}
	}
}

// Rules for servers' networks, as check and status tell of them.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	s := settingsOf(t, "config rule 'n'\n\tlist prefix '203.0.113.0/24'\n\tlist prefix '2001:db8::7'\n\tlist not 'a.example'\n"+
		"config rule 'both'\n\tlist prefix '203.0.113.0/24'\n\tlist domain 'b.example'\n"+rest)
	var out strings.Builder
	writeRules(&out, s)
	for _, want := range []string{"rule n: 2 networks but 1: desync\n", "rule both: 1 names and 1 networks: desync\n", "rule rest: all names: desync\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	var counts []string
	for _, r := range ruleStatus(s) {
		counts = append(counts, fmt.Sprint(r.Name, " ", r.Names, " ", r.Prefixes))
	}
	if got := fmt.Sprint(counts); got != "[n 0 2 both 1 1 rest -1 0]" {
		t.Error(got)
	}
}
