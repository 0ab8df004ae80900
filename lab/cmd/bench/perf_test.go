package main

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a process computes is seen as time in user space, and what it spends in system
// calls is not.
func TestSampler(t *testing.T) {
	measure := func(work func(end time.Time)) float64 {
		s, err := startSampler(os.Getpid())
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		work(time.Now().Add(200 * time.Millisecond))
		user, err := s.stop()
		if err != nil {
			t.Fatal(err)
		}
		return user
	}
	sum := 0
	computing := measure(func(end time.Time) {
		for time.Now().Before(end) {
			for i := range 1 << 16 {
				sum += i * sum
			}
		}
	})
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	buf := make([]byte, 1<<20)
	reading := measure(func(end time.Time) {
		for time.Now().Before(end) {
			if _, err := zero.Read(buf); err != nil {
				t.Error(err)
				return
			}
		}
	})
	t.Logf("%.3f of the time of computing, %.3f of that of reading, %d", computing, reading, sum)
	if computing < 0.5 || reading > 0.5 {
		t.Errorf("%.3f of the time of computing, %.3f of that of reading", computing, reading)
	}
}

func TestCountSamples(t *testing.T) {
	record := func(kind uint32, mode, size uint16, pid uint32) []byte {
		b := binary.NativeEndian.AppendUint32(nil, kind)
		b = binary.NativeEndian.AppendUint16(b, mode)
		b = binary.NativeEndian.AppendUint16(b, size)
		return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(b, pid), pid+1)
	}
	const kernel, user = unix.PERF_RECORD_MISC_KERNEL, unix.PERF_RECORD_MISC_USER
	ours, others := record(unix.PERF_RECORD_SAMPLE, user, 16, 7), record(unix.PERF_RECORD_SAMPLE, user, 16, 8)
	throttle := append(record(unix.PERF_RECORD_THROTTLE, 0, 24, 7), make([]byte, 8)...)
	b := slices.Concat(ours, others, record(unix.PERF_RECORD_SAMPLE, kernel, 16, 7), throttle, ours)
	if u, all, err := countSamples(b, 7); u != 2 || all != 3 || err != nil {
		t.Errorf("%d of %d, %v", u, all, err)
	}
	for name, b := range map[string][]byte{
		"half a record": ours[:6],
		"cut":           ours[:12],
		"no length":     record(unix.PERF_RECORD_SAMPLE, user, 0, 7),
		"short":         record(unix.PERF_RECORD_SAMPLE, user, 8, 7),
		"lost":          record(unix.PERF_RECORD_LOST, 0, 16, 7),
	} {
		if _, _, err := countSamples(b, 7); err == nil {
			t.Errorf("%s: passed", name)
		}
	}
}
