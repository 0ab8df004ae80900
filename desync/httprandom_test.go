package desync

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"testing"
	"time"

	"b4/engine"
)

// randomRequest is a head as a client may write it.
func randomRequest(r *rand.Rand) string {
	pick := func(words ...string) string { return words[r.Intn(len(words))] }
	eol := pick("\r\n", "\r\n", "\r\n", "\n")
	name := pick("www.blocked.example", "a.example", "blocked.example.", "192.0.2.7", "[2001:db8::7]", "xn--bcher-kva.example")
	fields := []string{pick("Host", "host", "HOST", "hOst") + ":" + pick(" ", "", "  ", "\t") + name + pick("", ":80") + pick("", "", " ")}
	for i := range r.Intn(12) {
		fields = append(fields, fmt.Sprintf("X-%d:%s%s%s", i, pick(" ", "", " \t ", " "+eol+" "),
			strings.Repeat(pick("value", "v", "a: b", ""), r.Intn(5)), pick("", " ")))
	}
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	body := pick("", "", "a=b\r\n\r\n", "Host: c.example\n\n")
	if body != "" {
		fields = append(fields, fmt.Sprint("Content-Length: ", len(body)))
	}
	target := pick("/", "/a?b=c", "http://"+strings.TrimSuffix(name, ".")+"/x")
	return pick("", "", "\r\n") + pick("GET", "POST") + " " + target + " HTTP/1." + pick("0", "1") + eol + strings.Join(fields, eol) + eol + eol + body
}

// randomHTTP is some of the words for HTTP, cuts among them.
func randomHTTP(r *rand.Rand) string {
	words := []string{"hostcase", "hostspell(hOSt)", "domcase", "hostdot", "hostnospace", "methodeol", "unixeol",
		"split(method+2)", "split(midsld)", "split(host, endhost, -3)", "disorder"}
	r.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	return strings.Join(words[:1+r.Intn(len(words))], " ")
}

func TestRandomRequests(t *testing.T) {
	r, changed := rand.New(rand.NewSource(1)), 0
	requests := short(3000, 300)
	for range requests {
		e := httpEnv(t, r.Intn(2) == 0, randomRequest(r))
		if len(e.Msg.Bytes) == 0 || e.Msg.Request.Len == 0 {
			t.Fatalf("%q is no request", e.Msg.Bytes)
		}
		s := mustHTTP(t, randomHTTP(r))
		checkHTTP(t, s, e)
		if stream, _, err := sent(t, s, e); err == nil && !bytes.Equal(stream, e.Msg.Bytes) {
			changed++
		}
	}
	if changed < requests/2 {
		t.Errorf("only %d of %d requests were changed: the test says little", changed, requests)
	}
}

// The kernel's own TCP hands on what the model's does.
func TestKernelReadsRequests(t *testing.T) {
	w := newWireTo(t)
	r, port := rand.New(rand.NewSource(2)), uint16(40000)
	for i := range 300 {
		port++
		text, e := randomHTTP(r), httpEnv(t, i%2 == 1, randomRequest(r))
		if i < len(httpStrategies) {
			text = httpStrategies[i]
		}
		s := mustHTTP(t, text)
		want, _, err := sent(t, s, e)
		if err != nil {
			continue
		}
		c := w.connect(t, e, port)
		var p Plan
		var out engine.Batch
		s.Plan(&p, e)
		p.Emit(&out, engine.Meta{}, e, 0, len(want))
		for _, k := range orders(out.Len(), uint64(port))[i%3] {
			w.put(t, out.At(k).Bytes)
		}
		got := make([]byte, len(want))
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s of %q: %v, the kernel reads %q", s, e.Msg.Bytes, err, got)
		}
		c.Close()
	}
}
