package lab

import (
	"container/heap"
	"sync"
	"time"
)

// queueCap bounds a delay queue: a full window of 6 MB at full-size packets.
const queueCap = 4096

// queue holds packets until they are due; equal times leave in the order they
// came. It keeps copies, in buffers that it uses again. The zero value is ready.
type queue struct {
	mu    sync.Mutex
	items delayed
	spare [][]byte
	n     uint64
	wake  chan struct{} // nil where nobody waits
}

type held struct {
	due time.Time
	n   uint64
	pkt []byte
}

// push adds a copy of pkt, unless the queue is full.
func (q *queue) push(due time.Time, pkt []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= queueCap {
		return false
	}
	var buf []byte
	if n := len(q.spare); n > 0 {
		buf, q.spare = q.spare[n-1], q.spare[:n-1]
	}
	q.n++
	heap.Push(&q.items, held{due, q.n, append(buf[:0], pkt...)})
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// release hands out each packet that is due; f must not keep it. It returns
// the wait until the next, less than zero if there is none.
func (q *queue) release(now time.Time, f func(pkt []byte)) time.Duration {
	for {
		q.mu.Lock()
		if len(q.items) == 0 {
			q.mu.Unlock()
			return -1
		}
		if wait := q.items[0].due.Sub(now); wait > 0 {
			q.mu.Unlock()
			return wait
		}
		h := heap.Pop(&q.items).(held)
		q.mu.Unlock()
		f(h.pkt)
		q.mu.Lock()
		q.spare = append(q.spare, h.pkt)
		q.mu.Unlock()
	}
}

// delayed is a heap of packets by due time.
type delayed []held

func (d delayed) Len() int { return len(d) }
func (d delayed) Less(i, j int) bool {
	if d[i].due.Equal(d[j].due) {
		return d[i].n < d[j].n
	}
	return d[i].due.Before(d[j].due)
}
func (d delayed) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *delayed) Push(x any)   { *d = append(*d, x.(held)) }
func (d *delayed) Pop() any {
	old := *d
	h := old[len(old)-1]
	old[len(old)-1] = held{}
	*d = old[:len(old)-1]
	return h
}
