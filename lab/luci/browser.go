package luci

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// browserNames are what distributions call Chromium.
var browserNames = []string{"chromium", "chromium-browser", "google-chrome"}

// FindBrowser finds Chromium on PATH.
func FindBrowser() (string, error) {
	for _, name := range browserNames {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find a browser: none of %s is on PATH", strings.Join(browserNames, ", "))
}

// A Browser is a Chromium of its own, without a window, driven by the DevTools
// protocol over a pipe: it opens no port.
type Browser struct {
	cmd  *exec.Cmd
	dir  string   // its profile, to be removed
	send *os.File // to Chromium's descriptor 3

	mu      sync.Mutex
	next    int
	waiting map[int]chan message
	pages   map[string]*Page // by session
	gone    chan struct{}    // closed when it hangs up
}

// message is one of the protocol: a request, its answer, or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// StartBrowser starts Chromium with an empty profile.
func StartBrowser() (_ *Browser, err error) {
	path, err := FindBrowser()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "b4browser")
	if err != nil {
		return nil, err
	}
	b := &Browser{dir: dir, waiting: map[int]chan message{}, pages: map[string]*Page{}, gone: make(chan struct{})}
	theirIn, send, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	receive, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), send.Close(), os.RemoveAll(dir))
	}
	b.send = send
	b.cmd = exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--user-data-dir="+dir, "--remote-debugging-pipe", "about:blank")
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	// It is several processes, which are to end together.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = b.cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start chromium: %w", err), send.Close(), receive.Close(), os.RemoveAll(dir))
	}
	go b.receive(receive)
	return b, nil
}

// Close ends the browser and removes its profile.
func (b *Browser) Close() error {
	b.send.Close() // it leaves where the pipe ends
	select {
	case <-b.gone:
	case <-time.After(5 * time.Second):
	}
	unix.Kill(-b.cmd.Process.Pid, unix.SIGKILL) // what has stayed
	b.cmd.Wait()                                // it was killed, or left
	return removeAll(b.dir)
}

// removeAll is os.RemoveAll where a process that ends may still write.
func removeAll(dir string) (err error) {
	for range 20 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// receive hands out what comes, each message ended by a NUL.
func (b *Browser) receive(from *os.File) {
	defer close(b.gone)
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		c, p := b.waiting[m.ID], b.pages[m.Session]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case c != nil:
			c <- m
		case p != nil:
			p.event(m)
		}
	}
}

// callLimit is how long the browser may take for one command.
const callLimit = waitLimit

// call sends a command in a session, and decodes what comes back into result,
// which may be nil.
func (b *Browser) call(session, method string, params, result any) error {
	c, err := b.post(session, method, params)
	if err != nil {
		return err
	}
	select {
	case m := <-c:
		if m.Error != nil {
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-b.gone:
		return fmt.Errorf("%s: the browser has gone", method)
	case <-time.After(callLimit):
		return fmt.Errorf("%s: the browser does not answer", method)
	}
}

// post sends a command and returns where its answer will come.
func (b *Browser) post(session, method string, params any) (chan message, error) {
	text, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	c := make(chan message, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	line, err := json.Marshal(message{ID: b.next, Session: session, Method: method, Params: text})
	if err != nil {
		return nil, err
	}
	b.waiting[b.next] = c
	_, err = b.send.Write(append(line, 0))
	return c, err
}

// args are a command's parameters.
type args map[string]any
