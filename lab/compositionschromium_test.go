package lab

import (
	"context"
	"fmt"
	"html"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"b4/desync"

	"golang.org/x/sys/unix"
)

// manyPage sends one request to each name in its address, and shows a line for
// each: the name, and what the server has read, or why not.
const manyPage = `<!doctype html><pre>wait</pre><script>
const body = "chromium ".repeat(500);
Promise.all(location.search.slice(1).split(",").map(name =>
	fetch("https://" + name + "/sink", {method: "POST", body: body})
		.then(r => r.text(), e => String(e)).then(text => name + " " + text)
)).then(lines => { document.querySelector("pre").textContent = lines.join("\n"); });
</script>`

// sixth stands ahead of the names that the browser finds in IPv6.
const sixth = "six."

// askChromium has the browser, in one start, ask the mirror by each name; names
// that begin with sixth over IPv6. It returns what went wrong, by name.
func askChromium(t *testing.T, l *Lab, names []string) map[string]error {
	t.Helper()
	path, err := chromiumPath()
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), chromiumStart+2*askTimeout)
	defer cancel()
	// The page itself comes over IPv6: the lab's addresses there are none of the
	// internet to the browser, and no page from there may ask such a server.
	v6 := bracketed(mirror.V6)
	cmd := exec.CommandContext(ctx, path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--disable-background-networking", "--no-first-run", "--ignore-certificate-errors",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=60000",
		fmt.Sprintf("--host-resolver-rules=MAP %s*.example %s, MAP *.example %s", sixth, v6, mirror.V4),
		"--dump-dom", "https://"+sixth+"page.example/many?"+strings.Join(names, ","))
	// It is several processes, which are to end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	var out, msg transcript
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := l.Client.Run(cmd); err != nil {
		t.Fatalf("chromium: %v: %s", err, msg.String())
	}
	_, text, _ := strings.Cut(out.String(), "<pre>")
	text, _, ok := strings.Cut(text, "</pre>")
	if !ok {
		t.Fatalf("chromium shows no page of ours: %s", out.String())
	}
	said := map[string]string{}
	for _, line := range strings.Split(html.UnescapeString(text), "\n") {
		name, rest, _ := strings.Cut(line, " ")
		said[name] = rest
	}
	errs := map[string]error{}
	for _, name := range names {
		want := digest(name+" "+name, "POST /sink", []byte(strings.Repeat("chromium ", 500)))
		switch got := said[name]; {
		case got == want:
		case len(got) == len(want):
			errs[name] = fmt.Errorf("%w: it says %q, and should say %q", errWrong, got, want)
		default:
			errs[name] = fmt.Errorf("chromium says %q", got)
		}
	}
	return errs
}

// chromiumRound has the browser go through some of the strategies.
func (r *round) chromium(list []composition) {
	start := time.Now()
	var names []string
	for i := range list {
		names = append(names, list[i].host, sixth+list[i].host)
	}
	errs := askChromium(r.t, r.lab, names)
	for i := range list {
		for _, v6 := range bothFamilies {
			name := list[i].host
			if v6 {
				name = sixth + name
			}
			r.note(attempt{&list[i], v6, Chromium, false}, errs[name], time.Since(start))
		}
	}
}

// The browser's hellos come whole through every kind of strategy, too.
func TestCompositionsChromium(t *testing.T) {
	t.Parallel()
	if _, err := chromiumPath(); err != nil {
		t.Skip(err)
	}
	start := time.Now()
	r := newRound(t, Options{}, "nfqueue")
	named, certain := part(compositions(t, desync.TLS, 20))
	named = named[len(named)-16:]
	r.reload(rules(named))
	r.chromium(named)
	r.reload(alone(&certain[0]))
	r.chromium(certain[:1])
	r.report(start)
}
