//go:build unix

package tiered_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/redistest"
	"github.com/doppio-cache/doppio/invalidation"
	"github.com/doppio-cache/doppio/tiered"
)

// What coherence costs, and how it behaves. Each benchmark reports figures of its own, and some work for a time that
// grows with the number of iterations, so -benchtime takes a count. For figures worth keeping, on a quiet machine:
//
//	go test -run '^$' -bench InvalidationLag -benchtime 5000x ./tiered
//	go test -run '^$' -bench SubscriptionCut -benchtime 25x ./tiered  # a cut of 5 s
//	go test -run '^$' -bench InvalidationCPU -benchtime 20x ./tiered  # 10 s
//	go test -run '^$' -bench IdleInstance -benchtime 20x ./tiered     # 20 s
//	go test -run '^$' -bench WriteCost -benchtime 3s ./tiered
//	go test -run '^$' -bench Stampede -benchtime 50x ./tiered
//	go test -run '^$' -bench LaneMemory -benchtime 1x ./tiered

// BenchmarkInvalidationLag measures how long after a change was acknowledged to one instance another still serves its
// copy: the begin of the first read that was not answered from it.
func BenchmarkInvalidationLag(b *testing.B) {
	for _, change := range []string{"Set", "Delete"} {
		b.Run(change, func(b *testing.B) {
			_, _, caches := fleet[int](b, 2, tiered.CacheOptions{TTL: time.Hour})
			writer, reader := caches[0], caches[1]
			ctx := b.Context()
			lags := make([]time.Duration, b.N)
			atOnce := 0
			for i := range lags {
				check(b, writer.Set(ctx, "k", 2*i))
				holdLocal(b, reader, "k", 2*i)
				var err error
				if change == "Set" {
					err = writer.Set(ctx, "k", 2*i+1)
				} else {
					_, err = writer.Delete(ctx, "k")
				}
				check(b, err)
				acknowledged := time.Now()
				for first := true; ; first = false {
					began := time.Now()
					got, err := reader.Get(ctx, "k")
					if err == nil && got == 2*i {
						continue
					}
					if err != nil && !errors.Is(err, tiered.ErrNotFound) {
						b.Fatal(err)
					}
					if lags[i] = began.Sub(acknowledged); first {
						lags[i] = 0
						atOnce++
					}
					break
				}
			}
			b.ReportMetric(0, "ns/op") // it is not what is measured
			b.ReportMetric(micros(percentile(lags, 50)), "p50-µs")
			b.ReportMetric(micros(percentile(lags, 99)), "p99-µs")
			b.ReportMetric(micros(percentile(lags, 100)), "max-µs")
			b.ReportMetric(100*float64(atOnce)/float64(b.N), "%at-once")
		})
	}
}

// holdLocal reads until the local tier answers with want.
func holdLocal(b *testing.B, c *tiered.Cache[int], key string, want int) {
	b.Helper()
	deadline := time.Now().Add(patience)
	for got, err := readLocal(b, c, key); err != nil || got != want; got, err = readLocal(b, c, key) {
		if time.Now().After(deadline) {
			b.Fatalf("readLocal: %d, %v, want %d", got, err, want)
		}
	}
}

var errNotLocal = errors.New("answered by another tier")

// local reads, and fails where something else than the local tier answered.
func readLocal(b *testing.B, c *tiered.Cache[int], key string) (int, error) {
	b.Helper()
	var by tiered.Source
	got, err := c.Get(tiered.WithSource(b.Context(), &by), key)
	if err == nil && by != tiered.SourceLocal {
		err = errNotLocal
	}
	return got, err
}

// BenchmarkSubscriptionCut cuts an instance off for 200 ms times the number of iterations, while another changes 2,000
// keys a second. All that was missed has to be replayed, and nothing dropped.
func BenchmarkSubscriptionCut(b *testing.B) {
	const (
		piece = 200 * time.Millisecond
		rate  = 2000
		held  = 1000
	)
	ctx, ns := b.Context(), namespace(b)
	srv := redistest.Start(b)
	proxy := redistest.NewProxy(b, srv.Addr)
	states := make(chan tiered.StateChange, 1024)
	other := coherent(b, srv.Client(b), tiered.Options{Namespace: ns})
	writer := newCache[int](b, other, "c", tiered.CacheOptions{TTL: time.Hour})
	client := coherent(b, srv.Client(b, func(o *redis.Options) { o.Addr = proxy.Addr() }),
		tiered.Options{Namespace: ns, OnStateChange: func(ch tiered.StateChange) { states <- ch }})
	cache := newCache[int](b, client, "c", tiered.CacheOptions{TTL: time.Hour})
	keys := keysOf(held)
	for i, k := range keys {
		check(b, writer.Set(ctx, k, i))
	}
	eventually(b, "the changes are known", func() bool {
		return client.Stats().Lanes[0].Applied == other.Stats().Lanes[0].Newest
	})
	for i, k := range keys {
		holdLocal(b, cache, k, i)
	}

	before := client.Stats()
	b.ResetTimer()
	proxy.Refuse(true)
	proxy.CutAll()
	cut := time.NewTimer(time.Duration(b.N) * piece)
	defer cut.Stop()
	began := time.Now()
	missed := 0
	pace(rate, cut.C, func(due int) {
		for range due {
			_, err := writer.Delete(ctx, "other:"+strconv.Itoa(missed))
			check(b, err)
			missed++
		}
	})
	achieved := float64(missed) / time.Since(began).Seconds()
	proxy.Refuse(false)
	ended := time.Now()
	subscribed, live := recovered(b, states, ended)
	b.StopTimer()

	after := client.Stats()
	replayed := after.Invalidations - before.Invalidations
	if drops := sum(after.Drops) - sum(before.Drops); drops != 0 || replayed < uint64(missed) {
		b.Fatalf("of %d missed, %d were replayed; dropped %d times: %v", missed, replayed, drops, after.Drops)
	}
	kept := 0
	for _, k := range keys {
		if _, err := readLocal(b, cache, k); err == nil {
			kept++
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(achieved, "changes/s")
	b.ReportMetric(float64(missed), "missed")
	b.ReportMetric(float64(replayed), "replayed")
	b.ReportMetric(float64(live.Sub(ended))/1e6, "to-live-ms")
	b.ReportMetric(float64(live.Sub(subscribed))/1e6, "replay-ms")
	b.ReportMetric(100*float64(kept)/held, "%kept")
}

// recovered gives when the subscription that became Live after a moment was confirmed, and when it became so.
func recovered(b *testing.B, states <-chan tiered.StateChange, after time.Time) (subscribed, live time.Time) {
	b.Helper()
	deadline := time.After(2 * patience)
	for {
		select {
		case ch := <-states:
			switch {
			case ch.To == tiered.StateSyncing:
				subscribed = ch.At
			case ch.To == tiered.StateLive && ch.At.After(after):
				return subscribed, ch.At
			}
		case <-deadline:
			b.Fatal("not live again")
		}
	}
}

func sum(drops map[string]uint64) (n uint64) {
	for _, d := range drops {
		n += d
	}
	return n
}

// pace calls do, until stop, with how many are due for there to be rate of them a second. What a stall has left undone
// beyond 25 ms' worth is not made up for.
func pace[T any](rate int, stop <-chan T, do func(due int)) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for began, done := time.Now(), 0; ; {
		select {
		case <-stop:
			return
		case <-tick.C:
			total := int(time.Since(began).Seconds() * float64(rate))
			do(min(total-done, rate/40))
			done = total
		}
	}
}

var announceScript = redis.NewScript(lane.Script + "\nreturn lane_append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], '')")

// announce announces n invalidations of random keys without a change, in a pipeline, with the Lua that every change
// runs. The script has been loaded.
func announce(ctx context.Context, rdb *redis.Client, to lane.Names, n int) error {
	if n == 0 {
		return nil
	}
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for range n {
			m := invalidation.Message{Type: invalidation.TypeKeys, Publisher: rand.Uint64(), Hashes: []uint64{rand.Uint64()}}
			data, err := m.Append(nil)
			if err != nil {
				return err
			}
			announceScript.EvalSha(ctx, p, []string{to.Stream, to.Floors}, to.Channel, data)
		}
		return nil
	})
	return err
}

// announcerEnv makes of this binary a process that announces: a writer whose CPU time is not the receivers'.
const announcerEnv = "DOPPIO_BENCH_ANNOUNCER"

type announcerConfig struct {
	Addr, Namespace string
	Rate            int
}

func init() {
	config := os.Getenv(announcerEnv)
	if config == "" {
		return
	}
	if err := runAnnouncer(config); err != nil {
		fmt.Fprintln(os.Stderr, "announcer:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runAnnouncer announces until its standard input ends.
func runAnnouncer(config string) error {
	var c announcerConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
	}()
	rdb := redis.NewClient(&redis.Options{Addr: c.Addr})
	defer rdb.Close()
	err := announceScript.Load(ctx, rdb).Err()
	fmt.Println("ready") // if it is not, its status tells
	if err != nil {
		return err
	}
	pace(c.Rate, ctx.Done(), func(due int) {
		if e := announce(ctx, rdb, lane.Of(c.Namespace, 0), due); e != nil && ctx.Err() == nil {
			err = e
			cancel()
		}
	})
	return err
}

// startAnnouncer starts the process, which ends with the benchmark, or if that dies.
func startAnnouncer(b *testing.B, config announcerConfig) {
	b.Helper()
	text, err := json.Marshal(config)
	check(b, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), announcerEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(b, err)
	out, err := cmd.StdoutPipe()
	check(b, err)
	check(b, cmd.Start())
	b.Cleanup(func() {
		_ = in.Close() // it may have ended
		if err := cmd.Wait(); err != nil {
			b.Errorf("announcer: %v", err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		b.Fatalf("announcer: %q, %v", line, err)
	}
}

// BenchmarkInvalidationCPU measures the CPU time that 20,000 invalidations a second take on the server, and in this
// process where that holds the receivers. Each iteration is half a second.
func BenchmarkInvalidationCPU(b *testing.B) {
	const (
		rate  = 20_000
		piece = 500 * time.Millisecond
	)
	for _, receivers := range []int{1, 4} {
		b.Run(fmt.Sprintf("receivers=%d", receivers), func(b *testing.B) {
			ns, srv := namespace(b), redistest.Start(b)
			admin := srv.Client(b)
			clients := make([]*tiered.Client, receivers)
			for i := range clients {
				clients[i] = coherent(b, srv.Client(b), tiered.Options{Namespace: ns})
			}
			received := func() (n uint64) {
				for _, c := range clients {
					n += c.Stats().Invalidations
				}
				return n
			}
			startAnnouncer(b, announcerConfig{srv.Addr, ns, rate})
			<-time.After(piece / 5) // it finds its pace
			b.ResetTimer()
			messages, server, self, began := received(), serverCPU(b, admin), processCPU(b), time.Now()
			<-time.After(time.Duration(b.N) * piece)
			messages, server, self = received()-messages, serverCPU(b, admin)-server, processCPU(b)-self
			took := time.Since(began).Seconds()
			b.StopTimer()
			for _, c := range clients {
				if n := sum(c.Stats().Drops); n > 1 { // the first sync's
					b.Errorf("dropped: %v", c.Stats().Drops)
				}
			}
			announced := float64(messages) / float64(receivers)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(announced/took, "messages/s")
			b.ReportMetric(100*server/took, "server-%CPU")
			b.ReportMetric(1e6*server/announced, "server-µs/message")
			b.ReportMetric(100*self/took/float64(receivers), "receiver-%CPU")
			b.ReportMetric(1e6*self/float64(messages), "receiver-µs/message")
		})
	}
}

// serverCPU is the CPU time, in seconds, of the thread that runs a server's commands.
func serverCPU(b *testing.B, rdb *redis.Client) float64 {
	b.Helper()
	cpu, _ := info(b, rdb, "cpu")
	return field(b, cpu, "used_cpu_user_main_thread") + field(b, cpu, "used_cpu_sys_main_thread")
}

// processCPU is that of this process.
func processCPU(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	check(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// info is one section of what a server says of itself, and the size of the text.
func info(b *testing.B, rdb *redis.Client, section string) (fields map[string]string, size int) {
	b.Helper()
	text, err := rdb.Info(b.Context(), section).Result()
	check(b, err)
	fields = make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = value
	}
	return fields, len(text)
}

func field(b *testing.B, fields map[string]string, name string) float64 {
	b.Helper()
	n, err := strconv.ParseFloat(fields[name], 64)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return n
}

// commandStat is how often a command ran, and how long in all. What a script calls is counted by itself, too, and its
// time is part of the script's.
type commandStat struct{ calls, micros float64 }

func commandStats(b *testing.B, servers ...*redis.Client) map[string]commandStat {
	b.Helper()
	out := make(map[string]commandStat)
	for _, rdb := range servers {
		fields, _ := info(b, rdb, "commandstats")
		for name, text := range fields {
			name, ok := strings.CutPrefix(name, "cmdstat_")
			if !ok {
				continue
			}
			s := out[name]
			var calls, micros float64
			if _, err := fmt.Sscanf(text, "calls=%f,usec=%f", &calls, &micros); err != nil {
				b.Fatalf("%s: %q: %v", name, text, err)
			}
			out[name] = commandStat{s.calls + calls, s.micros + micros}
		}
	}
	return out
}

// BenchmarkIdleInstance measures what an instance that nobody uses asks of the server. Each iteration is a second.
func BenchmarkIdleInstance(b *testing.B) {
	const verbatim = len("=1234\r\ntxt:\r\n") // what RESP3 puts around an INFO's text
	srv := redistest.Start(b)
	admin := srv.Client(b)
	coherent(b, srv.Client(b), tiered.Options{MaxStaleness: 2 * time.Second})
	b.ResetTimer()
	commands := commandStats(b, admin)
	stats, size := info(b, admin, "stats")
	in, out := field(b, stats, "total_net_input_bytes"), field(b, stats, "total_net_output_bytes")+float64(size+verbatim)
	began := time.Now()
	<-time.After(time.Duration(b.N) * time.Second)
	took := time.Since(began).Seconds()
	stats, _ = info(b, admin, "stats")
	in, out = field(b, stats, "total_net_input_bytes")-in, field(b, stats, "total_net_output_bytes")-out
	scripts, all := 0.0, 0.0
	for name, s := range commandStats(b, admin) {
		calls := s.calls - commands[name].calls
		switch name {
		case "info": // its own
			continue
		case "evalsha":
			scripts = calls
		}
		all += calls
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(scripts/took, "scripts/s")
	b.ReportMetric(all/took, "commands/s")
	b.ReportMetric(in/took, "in-B/s")
	b.ReportMetric(out/took, "out-B/s")
}

// BenchmarkWriteCost sets changes, which are announced, beside what go-redis does without this library, in one run: the
// latency that a caller sees divided by the callers (ns/op), and the time that the commands take on the servers.
func BenchmarkWriteCost(b *testing.B) {
	srv := redistest.Start(b)
	b.Run("standalone", func(b *testing.B) {
		writeCost(b, srv.Client(b, func(o *redis.Options) { o.PoolSize = 64 }), srv)
	})
	cluster := redistest.StartCluster(b, 3)
	b.Run("cluster", func(b *testing.B) {
		writeCost(b, cluster.Client(b, func(o *redis.ClusterOptions) { o.PoolSize = 64 }), cluster.Nodes...)
	})
}

func writeCost(b *testing.B, rdb redis.UniversalClient, servers ...*redistest.Server) {
	b.Helper()
	ctx := b.Context()
	admins := make([]*redis.Client, len(servers))
	for i, s := range servers {
		admins[i] = s.Client(b)
	}
	cache := newCache[account](b, coherent(b, rdb, tiered.Options{}), "c", tiered.CacheOptions{TTL: time.Hour})
	payload, err := json.Marshal(anAccount)
	check(b, err)
	keys := keysOf(1024)
	for _, callers := range []int{2, 32} {
		for _, c := range []struct {
			name, command string
			do            func(key string) error
		}{
			{"Set/doppio", "evalsha", func(k string) error { return cache.Set(ctx, k, anAccount) }},
			{"Set/raw", "set", func(k string) error { return rdb.Set(ctx, k, payload, time.Hour).Err() }},
			{"Delete/doppio", "evalsha", func(k string) error { _, err := cache.Delete(ctx, k); return err }},
			{"Delete/raw", "del", func(k string) error { return rdb.Del(ctx, k).Err() }},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, callers), func(b *testing.B) {
				check(b, c.do(keys[0])) // a script is loaded
				var next atomic.Uint32
				before := commandStats(b, admins...)[c.command]
				b.ReportAllocs()
				b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := c.do(keys[next.Add(1)%1024]); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.StopTimer()
				after := commandStats(b, admins...)[c.command]
				b.ReportMetric((after.micros-before.micros)/float64(b.N), "server-µs/op")
			})
		}
	}
}

// BenchmarkStampede lets 1,000 callers on each of four instances ask for the same cold key at once: how many loads and
// round trips that takes, and how much later than a load the last caller has its value.
func BenchmarkStampede(b *testing.B) {
	const (
		instances, callers = 4, 1000
		load               = 50 * time.Millisecond
	)
	ns := namespace(b)
	seen, caches := make([]*trips, instances), make([]*tiered.Cache[int], instances)
	for i := range caches {
		var client *tiered.Client
		seen[i], client = watched(b, tiered.Options{Namespace: ns}, 0)
		caches[i] = newCache[int](b, client, "c", tiered.CacheOptions{TTL: time.Hour})
	}
	var loads atomic.Int64
	late := make([]time.Duration, b.N)
	for n := range late {
		start := make(chan struct{})
		var waiting, asking sync.WaitGroup
		for i, c := range caches {
			ctx := seen[i].mark(b.Context())
			for range callers {
				waiting.Add(1)
				asking.Go(func() {
					waiting.Done()
					<-start
					got, err := c.GetOrSet(ctx, strconv.Itoa(n), func(context.Context) (int, error) {
						loads.Add(1)
						<-time.After(load)
						return n, nil
					})
					if err != nil || got != n {
						b.Errorf("GetOrSet = %d, %v", got, err)
					}
				})
			}
		}
		waiting.Wait()
		began := time.Now()
		close(start)
		asking.Wait()
		late[n] = time.Since(began) - load
	}
	trips := int64(0)
	for _, w := range seen {
		trips += w.seen.Load()
	}
	b.ReportMetric(0, "ns/op") // callers are made, too
	b.ReportMetric(float64(loads.Load())/float64(b.N), "loads/op")
	b.ReportMetric(float64(trips)/float64(b.N), "round-trips/op")
	b.ReportMetric(float64(percentile(late, 50))/1e6, "p50-late-ms")
	b.ReportMetric(float64(percentile(late, 100))/1e6, "max-late-ms")
}

// BenchmarkLaneMemory measures what a lane takes that is as long as it gets.
func BenchmarkLaneMemory(b *testing.B) {
	ctx, srv := b.Context(), redistest.Start(b)
	rdb, names := srv.Client(b), lane.Of("ns", 0)
	check(b, announceScript.Load(ctx, rdb).Err())
	for range b.N {
		check(b, rdb.Del(ctx, names.Stream).Err())
		for range 133 { // more than it keeps
			check(b, announce(ctx, rdb, names, 500))
		}
	}
	entries, err := rdb.XLen(ctx, names.Stream).Result()
	check(b, err)
	bytes, err := rdb.MemoryUsage(ctx, names.Stream, 0).Result()
	check(b, err)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(entries), "entries")
	b.ReportMetric(float64(bytes), "B")
	b.ReportMetric(float64(bytes)/float64(entries), "B/entry")
}

// percentile sorts d; 100 is the largest.
func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[(len(d)-1)*p/100]
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }
