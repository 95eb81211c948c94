//go:build linux

package attack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/internal/harness"
	"github.com/doppio-cache/doppio/internal/history"
	"github.com/doppio-cache/doppio/tiered"
)

// workerConfig is what an instance is told.
type workerConfig struct {
	Kind         string
	Name         string // of this process
	Seat         int    // of the fleet, which a process that follows takes over
	Topology     string
	Addrs        []string
	MasterName   string
	Ways         map[string]string // the proxy to each server
	Namespace    string
	Source       string
	Log          string
	Keys         int
	Readers      int
	Writers      int
	MaxStaleness time.Duration
	Bound        time.Duration
	Bypass       bool
}

// worker is an instance.
type worker struct {
	cfg    workerConfig
	log    *harness.Recorder
	source *harness.SourceClient
	cache  cache
}

const (
	flushEvery = 100 * time.Millisecond
	// Writers work and rest together, by the machine's clock. The rest is longer than the bound.
	workFor, restFor = 1800 * time.Millisecond, 1400 * time.Millisecond
	// A writer changes the first keys at the same time now and then, so that they are made together. The others are left alone: what
	// an instance changes itself is not stale there, however little it hears.
	burst, burstEvery = 6, 16
)

// runWorker is an instance's main. It works until its parent tells it to end.
func runWorker() (err error) {
	w := &worker{}
	parent, err := harness.Begin(os.Stdin, os.Stdout, &w.cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // it ends with the process, should that fail first
		defer cancel()
		parent.AwaitEnd()
	}()
	if w.log, err = harness.Record(w.cfg.Log, w.cfg.Name, w.cfg.Bound); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.log.Close()) }()
	if w.source, err = harness.DialSource(w.cfg.Source, w.cfg.Seat); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.source.Close()) }()
	if w.cache, err = kinds[w.cfg.Kind](w.cfg); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.cache.close()) }()

	var working sync.WaitGroup
	for range w.cfg.Readers {
		working.Go(func() { w.read(ctx) })
	}
	for range w.cfg.Writers {
		working.Go(func() { w.write(ctx) })
	}
	working.Go(func() {
		for harness.Sleep(ctx, flushEvery) {
			w.log.Flush()
		}
	})
	if w.cache.ready(ctx) == nil { // else it has been told to end
		err = parent.TellReady()
	}
	working.Wait()
	return err
}

func keyName(k int) string { return fmt.Sprint("key", k) }

// patience is how long a caller waits: now and then less than Redis may take.
func patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if rand.IntN(4) == 0 {
		return context.WithTimeout(ctx, 50*time.Millisecond+rand.N(500*time.Millisecond))
	}
	return context.WithTimeout(ctx, 5*time.Second)
}

func (w *worker) read(ctx context.Context) {
	for harness.Sleep(ctx, rand.N(4*time.Millisecond)) {
		k := rand.IntN(w.cfg.Keys)
		load := func(ctx context.Context) (string, error) {
			if err := ctx.Err(); err != nil {
				return "", err
			}
			// One that has begun goes on, as loaders do that do not heed their contexts.
			version, err := w.source.Load(context.WithoutCancel(ctx), uint32(k))
			return valueOf(k, version), err
		}
		if rand.IntN(6) == 0 {
			load = nil
		}
		call, cancel := patience(context.WithoutCancel(ctx))
		o := history.Op{Kind: history.Read, Key: uint32(k), Start: history.Now()}
		value, tier, err := w.cache.get(call, keyName(k), load)
		o.End, o.Tier = history.Now(), tier
		cancel()
		switch {
		case err == nil:
			o.Result, o.Version = parseValue(k, value)
		case errors.Is(err, tiered.ErrNotFound):
			o.Result = history.Nothing
		default:
			o.Result = history.Error
		}
		w.log.Add(o)
	}
}

func (w *worker) write(ctx context.Context) {
	conn, err := w.source.Conn()
	if err != nil {
		return // the run has ended
	}
	defer conn.Close()
	for harness.Sleep(ctx, rand.N(40*time.Millisecond)) {
		if time.Duration(history.Now())%(workFor+restFor) > workFor {
			continue
		}
		keys := []int{min(rand.IntN(w.cfg.Keys), rand.IntN(w.cfg.Keys))} // the last is changed once in a while only
		if rand.IntN(burstEvery) == 0 {
			keys = rand.Perm(min(burst, w.cfg.Keys))
		}
		if w.change(ctx, conn, keys) != nil {
			return // the run has ended
		}
	}
}

// change commits new versions of keys, and tells the cache of all of them at once.
func (w *worker) change(ctx context.Context, conn *harness.SourceConn, keys []int) error {
	committed := make(map[int]uint64, len(keys))
	mayBeSet := len(keys) == 1 || rand.IntN(2) == 0 // for only deletions are made together with deletions
	for _, k := range keys {
		commit := conn.Commit
		if inTurn(k) {
			commit = conn.Take
		}
		version, err := commit(uint32(k))
		switch {
		case errors.Is(err, harness.ErrBusy):
		case err != nil:
			return err
		default:
			committed[k] = version
		}
	}
	var telling sync.WaitGroup
	for k, version := range committed {
		telling.Go(func() {
			method := history.Delete
			if mayBeSet && inTurn(k) && rand.IntN(3) > 0 {
				method = history.Set
			}
			if !w.tell(ctx, method, k, version) && rand.IntN(2) == 0 {
				w.tell(ctx, history.Delete, k, version) // as an application may
			}
		})
	}
	telling.Wait()
	for k := range committed {
		if inTurn(k) {
			if err := conn.Give(uint32(k)); err != nil {
				return err
			}
		}
	}
	return nil
}

// inTurn tells whether writers of a key wait for each other, so that it may be set.
func inTurn(k int) bool { return k%2 == 0 }

// tell tells the cache of a commit, and tells whether that was acknowledged.
func (w *worker) tell(ctx context.Context, method history.Method, k int, version uint64) bool {
	call, cancel := patience(context.WithoutCancel(ctx))
	defer cancel()
	_, err := w.log.Change(method, uint32(k), version, func() error {
		if method == history.Set {
			return w.cache.set(call, keyName(k), valueOf(k, version))
		}
		return w.cache.remove(call, keyName(k))
	})
	return err == nil
}
