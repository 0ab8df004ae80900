package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// chromiumNames are what distributions call it.
var chromiumNames = []string{"chromium", "chromium-browser", "google-chrome"}

// chromiumPath finds the browser on PATH.
func chromiumPath() (string, error) {
	for _, name := range chromiumNames {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find a browser: none of %s is on PATH", strings.Join(chromiumNames, ", "))
}

// chromiumStart is how long the browser takes before it connects.
const chromiumStart = 3 * time.Second

// digestPage fetches a download in the browser and shows its length and SHA-256.
const digestPage = `<!doctype html><pre>wait</pre><script>
fetch("/bytes" + location.search).then(r => r.arrayBuffer()).then(async b => {
	const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", b));
	document.querySelector("pre").textContent =
		b.byteLength + " " + Array.from(sum, x => x.toString(16).padStart(2, "0")).join("");
});
</script>`

// chromium does one exchange with the browser. A download is taken in by a page
// of the server's, which tells what came.
func (l *Lab) chromium(r Request) (Result, error) {
	start := time.Now()
	path, err := chromiumPath()
	if err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp("", "b4chromium")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	url, isDigest := strings.CutPrefix(r.Path, "/bytes")
	if isDigest {
		url = "/digest" + url
	} else {
		url = r.Path
	}
	ctx, cancel := context.WithTimeout(context.Background(), chromiumStart+l.patience(r.Timeout))
	defer cancel()
	args := []string{"--headless", "--no-sandbox", "--disable-gpu",
		"--disable-background-networking", "--no-first-run", "--ignore-certificate-errors",
		"--user-data-dir=" + dir, "--virtual-time-budget=60000",
		fmt.Sprintf("--host-resolver-rules=MAP %s %s", r.Host, bracketed(r.Site.Addr(r.V6).Addr())),
		"--dump-dom"}
	switch r.Proto {
	case QUIC: // which takes no certificate that it is not told of
		args = append(args, "--enable-quic", "--origin-to-force-quic-on="+r.Host+":443", "--ignore-certificate-errors-spki-list="+l.web.key)
	case HTTP:
		args = append(args, "--disable-quic", "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable")
	default:
		args = append(args, "--disable-quic")
	}
	cmd := exec.CommandContext(ctx, path, append(args, r.origin()+url)...)
	// It is several processes, which are to end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	var out transcript
	cmd.Stdout = &out
	if err := l.from(r).Run(cmd); err != nil {
		return Result{}, fmt.Errorf("chromium: %w", errors.Join(err, ctx.Err()))
	}
	res, err := readDOM(out.String(), isDigest)
	res.Took = time.Since(start)
	return res, err
}

// readDOM takes the text out of the one pre element that the pages have; an
// error page has none.
func readDOM(dom string, isDigest bool) (Result, error) {
	_, rest, _ := strings.Cut(dom, "<pre")
	_, rest, _ = strings.Cut(rest, ">")
	text, _, ok := strings.Cut(rest, "</pre>")
	if !ok {
		return Result{}, errors.New("chromium shows no page of ours")
	}
	if isDigest {
		var res Result
		if _, err := fmt.Sscan(text, &res.N, &res.Sum); err != nil {
			return res, fmt.Errorf("chromium did not finish the download: %q", text)
		}
		return res, nil
	}
	sum := sha256.Sum256([]byte(text))
	return Result{Body: text[:min(200, len(text))], N: int64(len(text)), Sum: hex.EncodeToString(sum[:])}, nil
}
