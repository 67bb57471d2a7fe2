package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Bits of a record's length word, and what is before each record:
// BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT and BPF_RINGBUF_HDR_SZ of
// include/uapi/linux/bpf.h.
const (
	ringBusy    = 1 << 31
	ringDiscard = 1 << 30
	ringHeader  = 8
)

// passOn is after how many records the kernel is told that their room is free.
// Producers read that word for every record, so writing it that often would
// have the two processors send its cache line to and fro.
const passOn = 64

// Ring reads the records of a [Capture] where they lie, without copying them.
// One goroutine may use it.
type Ring struct {
	consumer, producer *uint64
	data               []byte // twice the ring, so that no record is in two parts
	mask               uint64
	wake               *os.File // readable when a share of the ring is unread
	mapped             [2][]byte
}

// Ring opens the ring for reading. Close it before the capture.
func (c *Capture) Ring() (*Ring, error) {
	m := c.collection.Maps["ring"]
	r, err := openRing(m)
	if err != nil {
		return nil, fmt.Errorf("open ring: %w", errors.Join(err, r.Close()))
	}
	return r, nil
}

func openRing(m *ebpf.Map) (*Ring, error) {
	page, size := os.Getpagesize(), int(m.MaxEntries())
	r := &Ring{mask: uint64(size) - 1}
	var err error
	if r.mapped[0], err = unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return r, fmt.Errorf("map consumer page: %w", err)
	}
	if r.mapped[1], err = unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return r, fmt.Errorf("map data pages: %w", err)
	}
	r.consumer = (*uint64)(unsafe.Pointer(&r.mapped[0][0]))
	r.producer = (*uint64)(unsafe.Pointer(&r.mapped[1][0]))
	r.data = r.mapped[1][page:]
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return r, fmt.Errorf("create epoll: %w", err)
	}
	// Non-blocking, so that Go's own poller waits for it.
	if err := unix.SetNonblock(epoll, true); err != nil {
		return r, errors.Join(fmt.Errorf("set epoll non-blocking: %w", err), unix.Close(epoll))
	}
	r.wake = os.NewFile(uintptr(epoll), "ring")
	// Edge-triggered: else it would return at once while there is anything.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, m.FD(), &event); err != nil {
		return r, fmt.Errorf("watch ring: %w", err)
	}
	return r, nil
}

// Wait returns when a share of the ring is unread, or after d at the latest.
// It waits in Go's own poller: a thread that blocks in a system call keeps the
// runtime's monitor awake, which took as much CPU as reading the ring.
func (r *Ring) Wait(d time.Duration) error {
	if err := r.wake.SetReadDeadline(time.Now().Add(d)); err != nil {
		return fmt.Errorf("wait for ring: %w", err)
	}
	conn, err := r.wake.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for ring: %w", err)
	}
	err = conn.Read(func(fd uintptr) bool {
		var events [1]unix.EpollEvent
		n, err := unix.EpollWait(int(fd), events[:], 0)
		return n > 0 || err != nil
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait for ring: %w", err)
	}
	return nil
}

// Read hands over up to limit records. Each is valid during the call only, and
// aligned to 8 bytes. It says whether it came to the end of what was there.
func (r *Ring) Read(limit int, record func([]byte)) (drained bool) {
	at := atomic.LoadUint64(r.consumer)
	end := atomic.LoadUint64(r.producer)
	n := 0
	for n < limit && at < end {
		length := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at&r.mask])))
		if length&ringBusy != 0 {
			break // being written
		}
		size := uint64(length &^ (ringBusy | ringDiscard))
		if length&ringDiscard == 0 {
			start := at&r.mask + ringHeader
			record(r.data[start : start+size : start+size])
			n++
		}
		at += (ringHeader + size + 7) &^ 7
		if n%passOn == 0 {
			atomic.StoreUint64(r.consumer, at)
		}
	}
	atomic.StoreUint64(r.consumer, at)
	return at == end
}

// Close gives the ring's memory back.
func (r *Ring) Close() error {
	var errs []error
	for i, m := range r.mapped {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
			r.mapped[i] = nil
		}
	}
	if r.wake != nil {
		errs = append(errs, r.wake.Close())
		r.wake = nil
	}
	return errors.Join(errs...)
}
