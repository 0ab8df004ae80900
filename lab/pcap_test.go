package lab

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"b4/packet"
)

// A recording has all that passed, by our own reading and by Wireshark's.
func TestPcap(t *testing.T) {
	dir := t.TempDir()
	l := build(t, Options{Pcap: dir})
	const size = 1 << 20
	if err := errors.Join(l.Download(Request{Host: Allowed}, size), l.Download(Request{Host: Allowed, V6: true}, size)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	passed := l.Counters(ToServer).Packets + l.Counters(ToClient).Packets // the last leave behind the downloads
	for _, name := range []string{"client-side.pcap", "server-side.pcap"} {
		path := filepath.Join(dir, name)
		n := readPcap(t, path)
		if n < 200 || uint64(n) > passed+40 {
			t.Errorf("%s: %d packets, the path counted %d", name, n, passed)
		}
		tshark(t, path, n)
	}
}

// readPcap counts the packets of the servers' connections in a recording.
func readPcap(t *testing.T, path string) (packets int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 0xa1b2c3d4 || binary.LittleEndian.Uint32(b[20:]) != 101 {
		t.Fatalf("%s: header %x", path, b[:min(24, len(b))])
	}
	for b = b[24:]; len(b) > 0; {
		length := binary.LittleEndian.Uint32(b[8:])
		if at := time.Unix(int64(binary.LittleEndian.Uint32(b)), 0); time.Since(at) > time.Minute || length != binary.LittleEndian.Uint32(b[12:]) {
			t.Fatalf("%s: record %x", path, b[:16])
		}
		var v packet.View
		if v.Decode(b[16:16+length]) && v.Proto == packet.TCP {
			packets++
			if !packet.ChecksumOK(b[16 : 16+length]) {
				t.Errorf("%s: a wrong checksum: %x", path, b[16:16+length])
			}
		}
		b = b[16+length:]
	}
	return packets
}

// tshark wants the same number of packets, and none that it calls malformed.
func tshark(t *testing.T, path string, packets int) {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Log("tshark is not installed: the recording is read by ourselves alone")
		return
	}
	count := func(filter string) int {
		out, err := exec.Command(program, "-n", "-r", path, "-Y", filter, "-T", "fields", "-e", "frame.number").Output()
		if err != nil {
			t.Errorf("tshark %s: %v", filter, err)
		}
		return strings.Count(string(out), "\n")
	}
	if n := count("tcp.port == 443"); n != packets {
		t.Errorf("tshark reads %d packets of %s, we read %d", n, path, packets)
	}
	if n := count("_ws.malformed"); n != 0 {
		t.Errorf("tshark calls %d packets of %s malformed", n, path)
	}
}
