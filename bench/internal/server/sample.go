package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

// Sample is what servers have counted since they started, all together.
type Sample struct {
	At                time.Time
	CPU               []float64 // seconds of the main thread of each node, as Addrs orders them: commands run there
	BytesIn, BytesOut float64
	Calls             map[string]float64 // of commands, in lower case, those that scripts call included
	Memory            float64            // bytes in use
	Servers           int
	Runs              []string // what tells one run of a node's process from the next
	HasCPU            bool
	HasCommands       bool // Calls and bytes
}

// Sample asks every node. An embedded server cannot tell anything.
func (s *Server) Sample(ctx context.Context) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out := Sample{CPU: make([]float64, len(s.addrs)), Runs: make([]string, len(s.addrs)), Calls: make(map[string]float64), Servers: len(s.addrs)}
	if s.kind == Embedded {
		out.At = time.Now()
		return out, nil
	}
	out.HasCPU, out.HasCommands = true, true
	err := s.eachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		text, err := node.Info(ctx, "all").Result()
		if err != nil {
			return err
		}
		i := slices.Index(s.addrs, node.Options().Addr)
		if i < 0 {
			return fmt.Errorf("%s was not a master when the run began", node.Options().Addr)
		}
		return out.add(i, infoFields(text))
	})
	out.At = time.Now()
	if err != nil {
		return Sample{}, fmt.Errorf("server: sample: %w", err)
	}
	return out, nil
}

// add adds what one node tells.
func (a *Sample) add(node int, fields map[string]string) error {
	number := func(name string, known *bool) float64 {
		v, err := strconv.ParseFloat(fields[name], 64)
		if err != nil && known != nil {
			*known = false // a server too old, or one that hides it
		}
		return v
	}
	a.Runs[node] = fields["run_id"]
	a.CPU[node] = number("used_cpu_user_main_thread", &a.HasCPU) + number("used_cpu_sys_main_thread", &a.HasCPU)
	a.BytesIn += number("total_net_input_bytes", &a.HasCommands)
	a.BytesOut += number("total_net_output_bytes", &a.HasCommands)
	a.Memory += number("used_memory", nil)
	for name, text := range fields {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok || command == "info" { // what a sample itself costs
			continue
		}
		calls, _, _ := strings.Cut(strings.TrimPrefix(text, "calls="), ",")
		n, err := strconv.ParseFloat(calls, 64)
		if err != nil {
			return fmt.Errorf("INFO commandstats: %s is not a count of calls", name)
		}
		a.Calls[command] += n
	}
	return nil
}

// infoFields reads the lines of an INFO, name:value.
func infoFields(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// Sub is what was counted between b and a. What a server that began anew between the two had counted until then is lost, so of
// such servers neither CPU nor commands are known.
func (a Sample) Sub(b Sample) Sample {
	same := slices.Equal(a.Runs, b.Runs)
	since := func(now, before float64) float64 { return max(0, now-before) }
	d := Sample{
		At: a.At, BytesIn: since(a.BytesIn, b.BytesIn), BytesOut: since(a.BytesOut, b.BytesOut), Memory: a.Memory, Servers: a.Servers,
		HasCPU: same && a.HasCPU && b.HasCPU, HasCommands: same && a.HasCommands && b.HasCommands, Runs: a.Runs,
		CPU: slices.Clone(a.CPU), Calls: make(map[string]float64, len(a.Calls)),
	}
	for node := range min(len(a.CPU), len(b.CPU)) {
		d.CPU[node] = since(a.CPU[node], b.CPU[node])
	}
	for command, v := range a.Calls {
		if n := since(v, b.Calls[command]); n > 0 {
			d.Calls[command] = n
		}
	}
	return d
}

// Result says what the servers did for requests that took so many seconds and sent so many commands; a is the difference of two
// samples. Servers count what scripts call as they count what is sent, so who sends has to count.
func (a Sample) Result(sent, requests int64, seconds float64) result.Redis {
	out := result.Redis{
		Servers: a.Servers, MemoryBytes: a.Memory, HasCPU: a.HasCPU, HasCommands: a.HasCommands, ByCommand: make(map[string]float64),
	}
	thousands := float64(requests) / 1000
	busiest, cpu := 0.0, 0.0
	for _, v := range a.CPU {
		busiest, cpu = max(busiest, v), cpu+v
	}
	if seconds > 0 && a.HasCPU {
		out.CPUShare = busiest / seconds
	}
	if thousands <= 0 {
		return out
	}
	out.Commands = float64(sent) / thousands
	if a.HasCPU {
		out.CPUms = cpu * 1000 / thousands
	}
	if a.HasCommands {
		out.BytesIn, out.BytesOut = a.BytesIn/thousands, a.BytesOut/thousands
		for command, n := range a.Calls {
			out.ByCommand[command] = n / thousands
		}
	}
	return out
}
