package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/instance"
	"github.com/doppio-cache/doppio/bench/internal/server"
)

// grace is how long instances have to end once they are told to stop.
const grace = 10 * time.Second

var errTimeLimit = errors.New("demo: the time limit is reached")

// Run runs the demo and writes its progress. If ctx ends, it stops and returns what was measured so far: an error beside a
// Report says why the run is not whole.
func Run(ctx context.Context, cfg Config, progress io.Writer) (report *Report, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if len(cfg.Command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
		cfg.Command = []string{self, InstanceCommand}
	}
	w, err := survey(ctx, cfg)
	if err != nil {
		return nil, err
	}
	d := &demo{cfg: cfg, workload: w}
	defer func() { err = errors.Join(err, d.owned.Close()) }()
	if err = d.open(ctx); err != nil {
		return nil, err
	}
	return d.run(ctx, progress)
}

// demo is the parent's side of a run: what it opened, in order.
type demo struct {
	cfg      Config
	workload *workload
	dir      string
	server   *server.Server
	shared   *instance.Shared
	source   *instance.Source
	owned    instance.Owned
}

func (d *demo) open(ctx context.Context) (err error) {
	// A short name: the path of a socket has little room.
	if d.dir, err = os.MkdirTemp("", "doppio-"); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.owned.Add(func() error { return os.RemoveAll(d.dir) })
	from := server.Options{Kind: server.Embedded}
	if d.cfg.RedisURL != "" {
		from = server.Options{Kind: server.Given, URL: d.cfg.RedisURL}
	}
	if d.server, err = server.Open(ctx, from); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.owned.Add(d.server.Close)
	slots := len(d.workload.slots)
	if d.shared, err = instance.CreateShared(d.path("shared"), slots); err != nil {
		return err
	}
	d.owned.Add(d.shared.Close)
	if d.source, err = instance.ServeSource(d.path("source"), slots, d.cfg.SourceLatency); err != nil {
		return err
	}
	d.owned.Add(d.source.Close)
	return nil
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// logs are those of the instances, in their order.
func (d *demo) logs() (logs []instance.Logs) {
	for n := range d.cfg.Instances {
		logs = append(logs, instance.Logs{Acks: d.path(fmt.Sprintf("acks-%d", n)), Stale: d.path(fmt.Sprintf("stale-%d", n))})
	}
	return logs
}

// redisName says which server it was: without credentials.
func (d *demo) redisName() string {
	if d.cfg.RedisURL == "" {
		return "embedded"
	}
	return strings.Join(d.server.Addrs(), ", ")
}

// run starts the instances, deals the trace, and waits for all that it started.
func (d *demo) run(ctx context.Context, progress io.Writer) (*Report, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	killed, kill := context.WithCancel(context.Background())
	defer kill()

	var aside sync.WaitGroup
	ended := make(chan struct{})
	defer aside.Wait()
	defer close(ended)
	aside.Go(func() { d.supervise(ctx, ended, kill) })

	processes, err := d.start(killed, stop)
	if err == nil {
		err = awaitReady(ctx, processes)
	}
	began := time.Now()
	if err != nil {
		stop(err)
	} else {
		if d.cfg.TimeLimit != NoTimeLimit {
			limit := time.AfterFunc(d.cfg.TimeLimit, func() { stop(errTimeLimit) })
			defer limit.Stop()
		}
		endWatch := d.watch(progress)
		defer endWatch()
		if err := d.deal(ctx, processes); err != nil {
			stop(err) // the first cause stays
		}
	}
	failures := finish(processes)
	took := time.Since(began)
	if len(failures) == len(processes) {
		if cause := context.Cause(ctx); cause != nil {
			return nil, errors.Join(cause, errors.Join(failures...))
		}
	}
	report, err := d.report(processes, took, failures)
	if err != nil {
		return nil, err
	}
	return report, d.verdict(report, context.Cause(ctx), failures)
}

// supervise tells the instances to stop when ctx ends, and kills those that do not.
func (d *demo) supervise(ctx context.Context, ended <-chan struct{}, kill func()) {
	select {
	case <-ctx.Done():
	case <-ended:
		return
	}
	d.shared.Raise(instance.Stop)
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-patience.C:
		kill()
	case <-ended:
	}
}

// start starts the instances. Should one fail, now or later, all stop. Those that did start are returned beside an error.
func (d *demo) start(killed context.Context, stop context.CancelCauseFunc) (processes []*process, err error) {
	logs := d.logs()
	for n := range d.cfg.Instances {
		p, err := startProcess(killed, d.cfg.Command, instanceConfig{
			Index:       n,
			Workers:     d.cfg.Workers,
			RedisURL:    d.server.URL(),
			Namespace:   d.server.Namespace(),
			NearEntries: d.cfg.NearEntries,
			TTL:         d.cfg.TTL,
			Paths:       instance.Paths{Source: d.path("source"), Shared: d.path("shared"), Logs: logs[n]},
		}, stop)
		if err != nil {
			return processes, err
		}
		processes = append(processes, p)
	}
	return processes, nil
}

func awaitReady(ctx context.Context, processes []*process) error {
	for _, p := range processes {
		select {
		case <-p.Ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (d *demo) deal(ctx context.Context, processes []*process) error {
	var to []chan<- []request
	for _, p := range processes {
		to = append(to, p.batches)
	}
	return d.workload.deal(ctx, to)
}

// finish ends the requests of all instances and waits for the instances. It returns what went wrong with them.
func finish(processes []*process) (failures []error) {
	for _, p := range processes {
		close(p.batches)
	}
	for _, p := range processes {
		<-p.Drained
	}
	for _, p := range processes {
		close(p.mayEnd)
	}
	for _, p := range processes {
		<-p.Done
		if p.Err != nil {
			failures = append(failures, p.Err)
		}
	}
	return failures
}

// verdict tells why a run is not whole: nil if it is, or if only its time was up.
func (d *demo) verdict(r *Report, cause error, failures []error) error {
	if len(failures) > 0 {
		return errors.Join(failures...)
	}
	if r.Requests == d.workload.requests {
		return nil
	}
	r.Notice = fmt.Sprintf("stopped after %d of %d requests", r.Requests, d.workload.requests)
	if errors.Is(cause, errTimeLimit) {
		r.Notice += fmt.Sprintf(": the time limit of %s was reached", d.cfg.TimeLimit)
		return nil
	}
	return cause
}
