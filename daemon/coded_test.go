package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"b4/netif"
)

// Of an error the parts that have codes are told by them, with the option to blame,
// and the others as they are.
func TestCauses(t *testing.T) {
	t.Parallel()
	s := settingsOf(t, "config b4 'main'\n\tlist wan 'wan'\n")
	missing := &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrNotExist}
	for _, tt := range []struct {
		err  error
		want string // codes, options and arguments
	}{
		{errBroken, ""},
		{errors.Join(errBroken, fmt.Errorf("act: %w", errBroken)), ""},
		{fmt.Errorf("wan: %w", errNoUplink), "no_uplink[]"},
		{fail("down", "%w: %s is down", errNoUplink, "eth1"), "down[eth1]"},
		{s.wrong("main.wan", errors.Join(netif.UnknownError("a"), netif.UnknownError("b"))), "b4:4: main.wan unknown[a], b4:4: main.wan unknown[b]"},
		{errors.Join(errBroken, s.wrong("main.wan", missing)), "broken on purpose, b4:4: main.wan no_file[/x]"},
		{fmt.Errorf("%w: %w", errTable, fail("down", "%s is down", "x")), "down[x]"},
		{fmt.Errorf("%w: %w", errTable, errBroken), ""},
		{fail("line", "%s:%d: %w", "/x", 3, errBroken), "line[/x 3]"},
	} {
		var got []string
		for _, c := range causes(tt.err) {
			text := strings.TrimSpace(c.Where + " " + c.Code + fmt.Sprint(c.Args))
			if c.Code == "" {
				text = strings.TrimSpace(c.Where + " " + c.Text)
			}
			got = append(got, text)
		}
		if got := strings.Join(got, ", "); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
	if !errors.Is(fail("down", "%w: %s is down", errNoUplink, "eth1"), errNoUplink) {
		t.Error("a code hides what an error wraps")
	}
}

// The finding that is about an error has its parts; those of fixed forms nothing more.
func TestFindingsHaveCauses(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), enabled)
	r.write(enabled + "config rule 'a'\n\tlist domain_file '/nowhere'\n")
	r.hangup()
	r.complains("refused")
	list := r.status().Health
	text, err := json.Marshal(list)
	if err != nil || len(list) != 1 || len(list[0].Causes) != 1 || list[0].Causes[0].Code != "no_file" || !strings.HasSuffix(list[0].Causes[0].Where, ":4: rule.a.domain_file") {
		t.Errorf("%v: %s", err, text)
	}
	if got, _ := json.Marshal(finding("off", "b4 is off.")); string(got) != `{"code":"off","text":"b4 is off.","args":[]}` {
		t.Errorf("%s", got)
	}
}

// What status says in English it says apart, too: the engine and why, what leads to
// the internet and how, and the devices of rules.
func TestStatusApart(t *testing.T) {
	t.Parallel()
	r := start(t, newFake(t), tunEnabled+"config rule 'a'\n\tlist mac '00:11:22:AA:BB:CC'\n\tlist source '192.0.2.0/24'\n")
	s := r.status()
	if s.Engine.Reason.Code != "engine_set" || s.Engine.Reason.Text != s.Engine.Why || joined(s.Engine.Ways) != s.Engine.Uplink || s.Engine.Ways[0].Args[0] != "wan0" {
		t.Errorf("%+v", s.Engine)
	}
	if got := fmt.Sprint(s.Net, s.Rules[0].Who); got != "{[wan0] [wan0] []} {[00:11:22:aa:bb:cc] [192.0.2.0/24] []}" {
		t.Errorf("%s, of %s", got, s.WAN)
	}
}
