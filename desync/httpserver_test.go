package desync

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ask sends what strategy text makes of a request to a server, and returns its
// answer.
func ask(t *testing.T, addr, text string) (status int, body string) {
	t.Helper()
	request := strings.Replace(curlHead, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
	stream, _, err := sent(t, mustHTTP(t, text), httpEnv(t, false, request))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(stream); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all)
}

// Each server says 200 for www.blocked.example and 404 for any other name.
const nginxConf = `
daemon off; worker_processes 1; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { listen %[2]s default_server; return 404; }
	server { listen %[2]s; server_name www.blocked.example; return 200 "$http_user_agent[$http_accept]"; }
}`

const apacheConf = `
ServerRoot /usr/lib/apache2
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule alias_module modules/mod_alias.so
User daemon
Group daemon
PidFile %[1]s/pid
DefaultRuntimeDir %[1]s
ErrorLog /dev/null
Listen %[2]s
ServerName localhost
<VirtualHost *>
	ServerName default.example
	Redirect 404 /
</VirtualHost>
<VirtualHost *>
	ServerName www.blocked.example
	Redirect 410 /
</VirtualHost>`

// nginx takes whatever the steps make, Apache all but bare LF.
func TestServers(t *testing.T) {
	for _, tt := range []struct {
		program, conf, refused string
		args                   []string
		found                  int
	}{
		{"nginx", nginxConf, "nothing", []string{"-e", "stderr", "-c"}, http.StatusOK},
		{"apache2", apacheConf, "unixeol", []string{"-DFOREGROUND", "-f"}, http.StatusGone},
	} {
		t.Run(tt.program, func(t *testing.T) {
			addr := serve(t, tt.program, tt.conf, tt.args...)
			for _, text := range httpStrategies {
				want := tt.found
				if strings.Contains(text, tt.refused) {
					want = http.StatusBadRequest
				}
				status, body := ask(t, addr, text)
				if status != want || status == http.StatusOK && body != "curl/8.14.1[*/*]" {
					t.Errorf("%s: status %d, want %d, %q", text, status, want, body)
				}
			}
		})
	}
}

// serve runs a web server on the loopback until the test ends.
func serve(t *testing.T, program, conf string, args ...string) (addr string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil || testing.Short() {
		t.Skipf("needs %s, and time", program)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(conf, dir, addr)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append(args, file)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	for range 50 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s does not answer", program)
	return ""
}
