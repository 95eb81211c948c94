package tiered

import (
	"slices"
	"sync"
)

// waiters are flights that wait for another instance's load. What wakes them is that the key's lease was filled or given
// back, or that the key was changed; it may always be for nothing, so whoever is woken looks again.
type waiters struct {
	mu     sync.Mutex
	byHash map[uint64][]chan struct{}
}

// enter gives a channel on which a token arrives when hash is woken. It must be entered before the lease is asked for:
// who holds it tells only if it knows that somebody waits.
func (w *waiters) enter(hash uint64) chan struct{} {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byHash[hash] = append(w.byHash[hash], ch)
	return ch
}

func (w *waiters) leave(hash uint64, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := slices.DeleteFunc(w.byHash[hash], func(c chan struct{}) bool { return c == ch })
	if len(rest) == 0 {
		delete(w.byHash, hash)
		return
	}
	w.byHash[hash] = rest
}

func (w *waiters) wake(hashes []uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.byHash) == 0 {
		return
	}
	for _, h := range hashes {
		for _, ch := range w.byHash[h] {
			select {
			case ch <- struct{}{}:
			default: // it has not looked since it was woken before
			}
		}
	}
}
