package netif

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// recorded reads a conversation from testdata, a turn each.
func recorded(t testing.TB, file string) (turns [][]byte, ours []bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if line[0] == '#' {
			continue
		}
		b, err := hex.DecodeString(line[2:])
		if err != nil {
			t.Fatal(err)
		}
		if n := len(turns); n > 0 && ours[n-1] == (line[0] == '>') {
			turns[n-1] = append(turns[n-1], b...)
			continue
		}
		turns, ours = append(turns, b), append(ours, line[0] == '>')
	}
	return turns, ours
}

// replay plays ubusd's part of a recording on a unix socket, asks that ours is
// said to the byte, and returns the socket's path.
func replay(t *testing.T, file string) string {
	t.Helper()
	turns, ours := recorded(t, file)
	path := filepath.Join(t.TempDir(), "ubus.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer l.Close()
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		for i, turn := range turns {
			if !ours[i] {
				_, err = conn.Write(turn)
			} else if got := make([]byte, len(turn)); err == nil {
				if _, err = io.ReadFull(conn, got); err == nil && !bytes.Equal(got, turn) {
					err = errors.New("asked with other bytes than those recorded: " + hex.EncodeToString(got))
				}
			}
		}
		done <- err
	}()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestAskNetifd(t *testing.T) {
	tests := []struct {
		file, err string
		want      map[string]iface
	}{
		{file: "netifd.txt", want: map[string]iface{
			"backup":   {true, "eth2", "eth2"},
			"broken":   {false, "", ""},
			"lan":      {true, "br-lan", "br-lan"},
			"loopback": {true, "lo", "lo"},
			"lte":      {false, "", "wwan0"},
			"wan":      {true, "pppoe-wan", "wan"},
			"wan6":     {true, "pppoe-wan", "pppoe-wan"}, // an alias: device @wan
		}},
		{file: "bare.txt"},
		{file: "denied.txt", err: "find network.interface: no answer: ubus shows this user nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			got, err := askNetifd([]string{"/nowhere/ubus.sock", replay(t, tt.file)})
			if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestNoUbus(t *testing.T) {
	if got, err := askNetifd([]string{"/nowhere/ubus.sock"}); got != nil || err != nil {
		t.Errorf("got %v, %v; want neither interfaces nor an error", got, err)
	}
}

func TestDeadUbusIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ubus.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if got, err := askNetifd([]string{path}); got != nil || err == nil {
		t.Errorf("got %v, %v; want an error", got, err)
	}
}

// stream is a ubusd that has said everything beforehand.
type stream struct{ io.Reader }

func (stream) Write(b []byte) (int, error) { return len(b), nil }

// msg builds a message of ubusd.
func msg(typ uint8, seq uint16, attrs ...[]byte) []byte {
	return appendBlob([]byte{0, typ, byte(seq >> 8), byte(seq), 0, 0, 0, 9}, 0, bytes.Join(attrs, nil))
}

func TestUbusRefuses(t *testing.T) {
	hello, id := msg(ubusHello, 0), appendBlob(nil, attrObjID, []byte{0, 0, 0, 9})
	ok := appendBlob(nil, attrStatus, make([]byte, 4))
	found := bytes.Join([][]byte{hello, msg(ubusData, 1, id), msg(ubusState, 1, ok)}, nil)
	status := func(n byte) []byte { return msg(ubusState, 2, appendBlob(nil, attrStatus, []byte{0, 0, 0, n})) }
	named := appendBlob(nil, blobArray, nil)
	named[0] |= 0x80 // a name is announced and is not there
	tests := []struct {
		name, err string
		in        [][]byte
	}{
		{"nothing", "read from ubus: EOF", nil},
		{"no hello", "ubus greets with message type 2", [][]byte{msg(ubusData, 0)}},
		{"another version", "ubus speaks version 1", [][]byte{{1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 4}}},
		{"length below its own head", "message of 3 bytes", [][]byte{{0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3}}},
		{"length above the limit", "message of 16777215 bytes", [][]byte{{0, 0, 0, 0, 0, 0, 0, 9, 0, 0xff, 0xff, 0xff}}},
		{"cut in the body", "unexpected EOF", [][]byte{{0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 8, 1}}},
		{"object without a number", "find network.interface: message is cut short", [][]byte{hello, msg(ubusData, 1), msg(ubusState, 1, ok)}},
		{"status without a number", "find network.interface: message is cut short", [][]byte{hello, msg(ubusState, 1)}},
		{"denied", "call network.interface dump: permission denied", [][]byte{found, status(6)}},
		{"timeout", "call network.interface dump: netifd did not answer in time", [][]byte{found, status(7)}},
		{"unknown status", "ubus status 42", [][]byte{found, status(42)}},
		{"answer without data", "call network.interface dump: message is cut short", [][]byte{found, msg(ubusData, 2), status(0)}},
		{"broken dump", "call network.interface dump: message is cut short", [][]byte{found, msg(ubusData, 2, appendBlob(nil, attrData, named)), status(0)}},
		{"no end", "ubus sends no end of answers", [][]byte{found, bytes.Repeat(msg(ubusData, 7), ubusMaxAnswers+1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dumpInterfaces(stream{bytes.NewReader(bytes.Join(tt.in, nil))})
			if got != nil || err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, %v; want error %q", got, err, tt.err)
			}
		})
	}
}

// Answers to another request, say one that was given up, are passed over.
func TestUbusSequence(t *testing.T) {
	ok := appendBlob(nil, attrStatus, make([]byte, 4))
	lost := appendBlob(nil, attrStatus, []byte{0, 0, 0, 6})
	said := [][]byte{
		msg(ubusHello, 0),
		msg(ubusData, 1, appendBlob(nil, attrObjID, []byte{0, 0, 0, 9})),
		msg(ubusState, 7, lost), msg(ubusState, 1, ok),
		msg(ubusData, 1, appendBlob(nil, attrData, []byte{0})),
		msg(ubusData, 2, appendBlob(nil, attrData, nil)), msg(ubusState, 2, ok),
	}
	if got, err := dumpInterfaces(stream{bytes.NewReader(bytes.Join(said, nil))}); got == nil || len(got) != 0 || err != nil {
		t.Errorf("got %v, %v; want no interfaces and no error", got, err)
	}
}

func TestCutBlobRefuses(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
	}{
		{"no head", []byte{1, 0, 0}},
		{"length below the head", []byte{1, 0, 0, 3}},
		{"length past the end", []byte{1, 0, 0, 8, 0, 0, 0}},
		{"no padding", []byte{1, 0, 0, 5, 7}},
		{"no room for a name's length", []byte{0x81, 0, 0, 5, 0, 0, 0, 0}},
		{"name past the end", []byte{0x81, 0, 0, 8, 0, 2, 'a', 0}},
		{"name without its NUL", []byte{0x81, 0, 0, 8, 0, 1, 'a', 'b'}},
		{"longest name", []byte{0x81, 0, 0, 8, 0xff, 0xff, 'a', 0}},
	}
	for _, tt := range tests {
		if a, _, ok := cutBlob(tt.in[:len(tt.in):len(tt.in)]); ok {
			t.Errorf("%s: took %+v", tt.name, a)
		}
	}
	if a, rest, ok := cutBlob([]byte{0x83, 0, 0, 9, 0, 1, 'a', 0, 'x', 0, 0, 0, 9}); !ok || a.name != "a" || string(a.data) != "x" || len(rest) != 1 {
		t.Errorf("whole: %+v, %v, %v", a, rest, ok)
	}
}

func TestUbusThatHangs(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	defer client.Close()
	client.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := dumpInterfaces(client); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want a deadline's", err)
	}
}

// FuzzUbus gives the client any conversation.
func FuzzUbus(f *testing.F) {
	for _, file := range []string{"netifd.txt", "bare.txt", "denied.txt"} {
		turns, ours := recorded(f, file)
		var said []byte
		for i := range turns {
			if !ours[i] {
				said = append(said, turns[i]...)
			}
		}
		f.Add(said)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := dumpInterfaces(stream{bytes.NewReader(b)}); got != nil && err != nil {
			t.Errorf("both %v and %v", got, err)
		}
	})
}

// FuzzBlob gives the parser any bytes: it ends, stays inside them, and what it
// takes for names stands in them.
func FuzzBlob(f *testing.F) {
	turns, _ := recorded(f, "netifd.txt")
	data, ok := pick(turns[len(turns)-1][ubusHead+blobHead:], attrData)
	if !ok {
		f.Fatal("no data in the recording")
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b):len(b)]
		all, ok := parseDump(b)
		if !ok && all != nil {
			t.Errorf("refused, and yet %v", all)
		}
		for name, i := range all {
			for _, s := range []string{name, i.l3, i.physical} {
				if !bytes.Contains(b, []byte(s)) {
					t.Errorf("%q is made up", s)
				}
			}
		}
	})
}
