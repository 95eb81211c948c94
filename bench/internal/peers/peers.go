package peers

import (
	"context"
	"errors"
	"time"

	"github.com/doppio-cache/doppio/bench/internal/result"
)

var (
	// ErrMiss says that there is no such entry, whichever library says it.
	ErrMiss = errors.New("no such entry")
	// ErrDropped says that the library did not take a value, which it is free to do: ristretto, while its buffer is full.
	// Wait and set it again where it must be there.
	ErrDropped = errors.New("the library dropped the value")
	// ErrTiers says that a subject was to be opened with tiers that it does not have.
	ErrTiers = errors.New("the library does not have these tiers")
)

// Config is what a subject is opened with.
type Config struct {
	Addr string // of Redis, host:port; not used by a subject without a remote tier
	DB   int
	// Namespace separates the entries of one subject from those of others in the remote tier. For doppio it is the namespace;
	// the others' keys get it and a colon in front, where they go to the remote tier. Empty spares them that, and then a
	// database of its own has to separate the subject.
	Namespace string
	Entries   int64 // that the local tier holds at most
	TTL       time.Duration
	PoolSize  int // connections to Redis, of those that pool; 0 is the library's default
	// Local asks for the local tier. Without it a subject works with its remote tier alone. ErrTiers where that cannot be.
	Local bool
}

// prefix is what stands before the keys in the remote tier.
func (c Config) prefix() string {
	if c.Namespace == "" {
		return ""
	}
	return c.Namespace + ":"
}

// Subject is a library, used in one way. Local and Remote say which tiers it has: with both it is opened with the local tier or,
// but for sturdyc, without.
type Subject[V any] struct {
	Info          result.Subject
	Local, Remote bool
	// Open returns a cache that is ready: connected and, where the library knows such a thing, coherent.
	Open func(ctx context.Context, c Config) (Cache[V], error)
}

// All gives the subjects in the order of the table, ours first.
func All[V any]() []Subject[V] {
	return []Subject[V]{
		doppioSubject[V](),
		doppioOtterSubject[V](),
		ristrettoSubject[V](),
		otterSubject[V](),
		theineSubject[V](),
		sturdycSubject[V](),
		goRedisCacheSubject[V](),
		rueidisSubject[V](),
		goRedisSubject[V](),
		goRedisV2Subject[V](),
		byHandSubject[V](),
	}
}

// Cache is an open subject. What it can do is asked by type assertion.
type Cache[V any] interface {
	// Close ends it, with its connections and goroutines.
	Close() error
}

// Getter gives what is under key, from the nearest tier that has it, or ErrMiss.
type Getter[V any] interface {
	Get(ctx context.Context, key string) (V, error)
}

// Loader gives what is under key, or else what load returns, which is stored in both tiers.
type Loader[V any] interface {
	GetOrLoad(ctx context.Context, key string, load func(context.Context) (V, error)) (V, error)
}

// Setter stores v in both tiers.
type Setter[V any] interface {
	Set(ctx context.Context, key string, v V) error
}

// Deleter removes key from both tiers. It is no error that there is no such entry.
type Deleter interface {
	Delete(ctx context.Context, key string) error
}

// ManyGetter gives those of keys that are present.
type ManyGetter[V any] interface {
	GetMany(ctx context.Context, keys []string) (map[string]V, error)
}

// loadByHand is get-or-load where the library has none: what is there, or else what load returns, which is stored. Nobody is
// kept from loading at the same time.
func loadByHand[V any](ctx context.Context, c interface {
	Getter[V]
	Setter[V]
}, key string, load func(context.Context) (V, error),
) (V, error) {
	v, err := c.Get(ctx, key)
	if err == nil || !errors.Is(err, ErrMiss) {
		return v, err
	}
	if v, err = load(ctx); err != nil {
		return v, err
	}
	return v, c.Set(ctx, key, v)
}

// Waiter waits until what was set is applied, where setting is asynchronous.
type Waiter interface {
	Wait()
}

// Forgetter drops the local copy alone, so that the next read is the remote tier's.
type Forgetter interface {
	Forget(ctx context.Context, key string) error
}
