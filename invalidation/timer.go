package invalidation

import "time"

// after runs f once d has passed, from a goroutine of its own. The function that it returns must be
// called once: it keeps f from running, or waits for f to end. A receiver's goroutines call it
// before they end, so that the Handler is told nothing after Close.
func after(d time.Duration, f func()) (stop func()) {
	ended := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		defer close(ended)
		f()
	})
	return func() {
		if !timer.Stop() {
			<-ended
		}
	}
}
