package invalidation

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTimer_hasEndedWhenItWasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, ended := make(chan struct{}), false
		stop := startTimer(time.Second, func() {
			close(began)
			time.Sleep(time.Second)
			ended = true
		})
		<-began
		if stop(); !ended {
			t.Error("stop returned while the function was running")
		}
		stop = startTimer(time.Second, func() { t.Error("a stopped timer ran its function") })
		stop()
		time.Sleep(2 * time.Second)
	})
}
