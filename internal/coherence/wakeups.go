package coherence

import (
	"slices"
	"sync"
)

// waiters are the loads, and batches of them, that wait for other instances' loads.
type waiters struct {
	mu     sync.Mutex
	byHash map[uint64][]*Waiter
}

// Waiter waits for loads of other instances, of any number of keys. It is woken when the lease of a
// key was filled or given back, or when the key was changed; it may always be in vain, so a load
// that is woken looks again.
type Waiter struct {
	C <-chan struct{} // receives a signal when one of the keys is woken

	in     *waiters
	hashes []uint64
	one    [1]uint64 // room for a single hash
	ch     chan struct{}
	woken  []uint64 // guarded by waiters.mu: the hashes of those that were woken and not taken
}

// NewWaiter returns a waiter for keys with these hashes. It is made before their leases are asked
// for: the instance that holds one announces its end only if it knows of a load that waits.
func (m *Manager) NewWaiter(hashes ...uint64) *Waiter {
	w := &m.waiters
	in := &Waiter{in: w, ch: make(chan struct{}, 1)}
	in.C, in.hashes = in.ch, append(in.one[:0], hashes...)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range hashes {
		w.byHash[h] = append(w.byHash[h], in)
	}
	return in
}

// Stop ends the wait.
func (in *Waiter) Stop() { in.StopFor(in.hashes...) }

// StopFor ends the wait for keys with these hashes.
func (in *Waiter) StopFor(hashes ...uint64) {
	w := in.in
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range hashes {
		rest := slices.DeleteFunc(w.byHash[h], func(other *Waiter) bool { return other == in })
		if len(rest) == 0 {
			delete(w.byHash, h)
			continue
		}
		w.byHash[h] = rest
	}
}

// Woken returns the hashes that were woken since the last call, each once.
func (in *Waiter) Woken() []uint64 {
	in.in.mu.Lock()
	defer in.in.mu.Unlock()
	hashes := in.woken
	in.woken = nil
	slices.Sort(hashes)
	return slices.Compact(hashes)
}

func (w *waiters) wake(hashes []uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.byHash) == 0 {
		return
	}
	for _, h := range hashes {
		for _, in := range w.byHash[h] {
			if n := len(in.woken); n == 0 || in.woken[n-1] != h {
				in.woken = append(in.woken, h)
			}
			signal(in.ch)
		}
	}
}

// Waiting is how many waits for a key there are.
func (m *Manager) Waiting() int {
	w := &m.waiters
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, waiting := range w.byHash {
		n += max(len(waiting), 1) // an entry without a waiter has leaked, too
	}
	return n
}
