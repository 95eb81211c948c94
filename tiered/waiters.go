package tiered

import (
	"slices"
	"sync"
)

// waiters are flights, and batches of them, that wait for other instances' loads. What wakes them is that a key's lease was
// filled or given back, or that the key was changed; it may always be for nothing, so whoever is woken looks again.
type waiters struct {
	mu     sync.Mutex
	byHash map[uint64][]*waiter
}

// waiter waits for any number of keys.
type waiter struct {
	ch    chan struct{} // a token arrives when one of them is woken
	woken []uint64      // guarded by waiters.mu: the hashes of those that were woken and not taken
}

// enter gives a waiter for keys with these hashes. They must be entered before their leases are asked for: the instance
// that holds one tells only if it knows that somebody waits.
func (w *waiters) enter(hashes ...uint64) *waiter {
	in := &waiter{ch: make(chan struct{}, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range hashes {
		w.byHash[h] = append(w.byHash[h], in)
	}
	return in
}

func (w *waiters) leave(in *waiter, hashes ...uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range hashes {
		rest := slices.DeleteFunc(w.byHash[h], func(other *waiter) bool { return other == in })
		if len(rest) == 0 {
			delete(w.byHash, h)
			continue
		}
		w.byHash[h] = rest
	}
}

// taken gives the hashes that a waiter was woken for, each once.
func (w *waiters) taken(in *waiter) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
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
			select {
			case in.ch <- struct{}{}:
			default: // it has not looked since it was woken before
			}
		}
	}
}
