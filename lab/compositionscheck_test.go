package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"b4/desync"
)

// A sentence is a text that may be a strategy.
type sentence struct {
	proto desync.Proto
	text  string
	pos   int    // of what is wrong with it, from 1
	want  string // why; "" is nothing
}

// sentencePairs are every two steps of each protocol, one behind the other, and every
// step in the protocols that do not have it.
func sentencePairs(t *testing.T) (list []sentence) {
	for proto := range desync.Protos {
		g := newGenerator(t, proto, 1)
		for i := range g.steps {
			for j := range g.steps {
				list = append(list, g.pair(&g.steps[i], &g.steps[j]))
			}
		}
		for _, h := range desync.Steps() {
			if !slices.ContainsFunc(g.steps, func(s desync.StepHelp) bool { return s.Name == h.Name }) {
				list = append(list, sentence{proto, "disorder " + h.Name, 10, h.Name + " is for " + strings.Join(h.For, ", ")})
			}
		}
	}
	return list
}

// pair is step a and then step b, which is right unless one of them stands but
// once or b is for an earlier phase.
func (g *generator) pair(a, b *desync.StepHelp) sentence {
	phases := []string{"syn", "message", "packet"}
	first := g.single(a, -1, "")
	s := sentence{g.proto, first + " " + g.single(b, -1, ""), len(first) + 2, ""}
	switch {
	case a.Name == b.Name && a.Once:
		s.want = a.Name + " stands twice"
	case slices.Index(phases, a.Phase) > slices.Index(phases, b.Phase):
		s.want = fmt.Sprintf("%s is a step for the %s and must stand before those for the %s", b.Name, b.Phase, a.Phase)
	}
	return s
}

// sentences are further texts that are wrong, at least one for each way to be.
var sentences = []sentence{
	{desync.TLS, "split(midsld) tlsrec(host)", 15, "tlsrec lengthens the stream and needs a pre-paid handshake"},
	{desync.TLS, "oob(host)", 1, "oob lengthens the stream and needs a pre-paid handshake"},
	{desync.TLS, "split(midsld) disrder", 15, `unknown step "disrder", want one of `},
	{desync.TLS, "split(midsld) )", 15, `unexpected ")", want a step`},
	{desync.TLS, "split", 6, "split wants a position"},
	{desync.TLS, "split(1", 8, "want ',' or ')'"},
	{desync.TLS, "split(1,)", 9, "want a value"},
	{desync.TLS, "split(0)", 7, "position 0"},
	{desync.TLS, "split(method)", 7, `"method" is no position in tls`},
	{desync.HTTP, "split(sniext)", 7, `"sniext" is no position in http`},
	{desync.TLS, "split(at=1)", 7, `unknown parameter "at" in split`},
	{desync.TLS, "split(=5)", 7, "want a name before"},
	{desync.TLS, "disorder(1)", 10, "disorder takes no arguments"},
	{desync.TLS, "fake", 5, "fake needs ttl= or one of "},
	{desync.TLS, "fake(ttl=auto+1)", 10, "a decoy with ttl=auto+1 gets to the server"},
	{desync.TLS, "fake(ttl=0)", 10, "is not a number from 1 to 255"},
	{desync.TLS, "fake(ttl=3, ttl=4)", 17, `fake has one ttl, and "4" is the second`},
	{desync.TLS, "fake(sni=a_b, badsum)", 10, "is not a host name"},
	{desync.TLS, "fake(zero, sni=a.b, badsum)", 16, "zero says no name"},
	{desync.TLS, "fake(file=/nowhere, badsum)", 11, "read /nowhere: "},
	{desync.TLS, "rst", 4, "rst needs ttl= or one of "},
	{desync.TLS, "rst(badseq, ts)", 13, "ts does not keep the server from it"},
	{desync.TLS, "synfake(badseq)", 9, "badseq does not keep the server from it"},
	{desync.QUIC, "fake(md5)", 6, "md5 does not keep the server from it"},
	{desync.TLS, "seqovl(1201)", 8, "is not a number from 1 to 1200"},
	{desync.TLS, "ipfrag(30)", 8, "a multiple of 8"},
	{desync.TLS, "delay(1) dup(6)", 14, "is not a number from 1 to 5"},
	{desync.HTTP, "hostspell(Hast)", 11, "Hast"},
	{desync.QUIC, "pad(100)", 5, "is not a number from 1200 to 1452"},
	{desync.TLS, strings.Repeat("disorder ", 16) + "disorder", 145, "more than 16 steps"},
	{desync.TLS, "split(" + strings.Repeat("1, ", 16) + "1)", 53, "more than 16 arguments"},
}

// Two steps, one behind the other, either run or are refused, with the place and
// the reason, and so is all else that is no strategy.
func TestCheckRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds b4d")
	}
	var right, wrong []sentence
	for _, s := range append(sentencePairs(t), sentences...) {
		if s.want == "" {
			right = append(right, s)
		} else {
			wrong = append(wrong, s)
		}
	}
	t.Logf("%d texts are right, %d wrong", len(right), len(wrong))
	if said, code := checkFile(t, right); code != 0 {
		t.Errorf("what is right: exit %d, %s", code, said)
	}
	said, code := checkFile(t, wrong)
	if code != 2 {
		t.Errorf("what is wrong: exit %d", code)
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if len(lines) != len(wrong) {
		t.Fatalf("%d texts are wrong, b4d says\n%s", len(wrong), said)
	}
	for i, s := range wrong {
		place := fmt.Sprintf("%d: strategy.n%d.%v: strategy %q, position %d: ", firstLine+2*i, i, s.proto, s.text, s.pos)
		if !strings.Contains(lines[i], place) || !strings.Contains(lines[i], s.want) {
			t.Errorf("%v %q: b4d says %s, want %s%s", s.proto, s.text, lines[i], place, s.want)
		}
	}
	if _, code := checkFile(t, wrong[:1]); code != 2 {
		t.Errorf("one that is wrong: exit %d", code)
	}
}

// firstLine is where checkFile writes the first text.
const firstLine = 5

// checkFile has b4d check a configuration with a section for each text.
func checkFile(t *testing.T, list []sentence) (said string, code int) {
	t.Helper()
	text := configure("nfqueue") // three lines
	for i, s := range list {
		text += fmt.Sprintf("config strategy 'n%d'\n\toption %v '%s'\n", i, s.proto, s.text)
	}
	name := filepath.Join(t.TempDir(), "b4")
	must(t, os.WriteFile(name, []byte(text), 0o600))
	path, err := program()
	must(t, err)
	var msg strings.Builder
	cmd := exec.Command(path, "check", "-offline", "-config", name)
	cmd.Stderr = &msg
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return msg.String(), cmd.ProcessState.ExitCode()
}
