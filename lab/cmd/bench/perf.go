package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sampler interrupts each processor every samplePeriod and counts how often a
// process was there, and how often of that outside the kernel. The kernel's own
// account goes by the machine's tick, which a process that runs for some microseconds
// at a time hardly meets. And a timer of the process's own time is not to be trusted
// either: it begins anew whenever the process does, and found twice as much. More
// samples would cost so much that they change what they tell of.
type sampler struct {
	pid   int
	fds   []int    // one a processor
	rings [][]byte // theirs
}

const (
	samplePeriod = 250 * time.Microsecond
	samplePages  = 1024 // of a ring, of what all processes do meanwhile: a minute, of 16 bytes each
)

// Sizes of struct perf_event_header and of a record of PERF_SAMPLE_TID.
const headerSize, sampleSize = 8, 16

// startSampler begins to watch a process.
func startSampler(pid int) (_ *sampler, err error) {
	s := &sampler{pid: pid}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for cpu := range runtime.NumCPU() {
		attr := unix.PerfEventAttr{
			Type:        unix.PERF_TYPE_SOFTWARE,
			Config:      unix.PERF_COUNT_SW_CPU_CLOCK,
			Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
			Sample:      uint64(samplePeriod),
			Sample_type: unix.PERF_SAMPLE_TID,
			Bits:        unix.PerfBitExcludeIdle | unix.PerfBitExcludeHv,
		}
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("sample processor %d: %w", cpu, err)
		}
		s.fds = append(s.fds, fd)
		ring, err := unix.Mmap(fd, 0, (1+samplePages)*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, fmt.Errorf("collect samples: %w", err)
		}
		s.rings = append(s.rings, ring)
	}
	return s, nil
}

// stop ends it and returns the share of the process's time that was in user space,
// NaN if the process was not met. It is an error if samples were lost.
func (s *sampler) stop() (float64, error) {
	defer s.close()
	var user, all int
	for i, ring := range s.rings {
		unix.IoctlSetInt(s.fds[i], unix.PERF_EVENT_IOC_DISABLE, 0) // it ends with the file
		page := (*unix.PerfEventMmapPage)(unsafe.Pointer(&ring[0]))
		head, data := atomic.LoadUint64(&page.Data_head), ring[page.Data_offset:][:page.Data_size]
		if head > page.Data_size {
			return 0, errors.New("there were more samples than there is room for")
		}
		u, n, err := countSamples(data[:head], uint32(s.pid))
		if err != nil {
			return 0, err
		}
		user, all = user+u, all+n
	}
	return float64(user) / float64(all), nil
}

// countSamples counts a process's records, and those of them in user space.
func countSamples(b []byte, pid uint32) (user, all int, err error) {
	for len(b) > 0 {
		if len(b) < headerSize {
			return 0, 0, errors.New("half a record of samples")
		}
		kind, mode, size := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint16(b[4:])&unix.PERF_RECORD_MISC_CPUMODE_MASK, int(binary.NativeEndian.Uint16(b[6:]))
		switch {
		case size < headerSize, size > len(b), kind == unix.PERF_RECORD_SAMPLE && size < sampleSize:
			return 0, 0, fmt.Errorf("a record of samples has %d bytes", size)
		case kind == unix.PERF_RECORD_LOST:
			return 0, 0, errors.New("samples were lost")
		case kind == unix.PERF_RECORD_SAMPLE && binary.NativeEndian.Uint32(b[headerSize:]) == pid:
			all++
			if mode == unix.PERF_RECORD_MISC_USER {
				user++
			}
		}
		b = b[size:]
	}
	return user, all, nil
}

func (s *sampler) close() {
	for _, ring := range s.rings {
		unix.Munmap(ring)
	}
	for _, fd := range s.fds {
		unix.Close(fd)
	}
	s.fds, s.rings = nil, nil
}
