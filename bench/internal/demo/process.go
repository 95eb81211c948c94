package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/doppio-cache/doppio/bench/internal/instance"
)

// process is an instance as the demo sees it.
type process struct {
	*instance.Process[instanceResult]
	batches chan []request
	mayEnd  chan struct{} // closed by the parent to let it end
}

// startProcess starts an instance, which ends when its requests do, or when killed ends. If it goes wrong, failed is called.
func startProcess(killed context.Context, argv []string, cfg instanceConfig, failed func(error)) (*process, error) {
	config, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	p := &process{batches: make(chan []request, 4), mayEnd: make(chan struct{})}
	p.Process, err = instance.Start[instanceResult](killed, instance.Spec{
		Name:    fmt.Sprintf("demo: instance %d", cfg.Index),
		Command: argv,
		Feed:    func(in io.WriteCloser, _ <-chan struct{}) error { return p.feed(in, append(config, '\n')) },
		Failed:  failed,
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// feed writes the configuration, and then requests as they are dealt. Should the instance take no more, the rest is thrown away,
// so that the dealer is never stuck.
func (p *process) feed(in io.WriteCloser, config []byte) error {
	w := bufio.NewWriterSize(in, 16<<10)
	_, err := w.Write(config)
	if err == nil {
		err = w.Flush()
	}
	for batch := range p.batches {
		if err != nil {
			continue
		}
		if err = writeBatch(w, batch); err == nil && len(p.batches) == 0 {
			err = w.Flush()
		}
	}
	if err == nil {
		err = writeBatch(w, nil)
	}
	if err == nil {
		err = w.Flush()
	}
	<-p.mayEnd
	return errors.Join(err, in.Close())
}
