// Package peers makes the libraries that are compared look alike, each in a file of its own.
//
// An adapter does what the library's own README advises, and nothing else. Its methods are the direct calls: what they add
// is the same for all, an interface's dispatch and the translation of a miss into [ErrMiss]. Each file's comment says what
// was chosen and why, what the library cannot do, and what it promises to other instances.
//
// What a library can do is asked of its [Cache] by type assertion: [Getter], [Loader], [Setter], [Deleter], [ManyGetter],
// [Waiter], [Forgetter]. What is not there cannot be done with it, or only by writing what would not be the library's.
//
// # What is the same for all
//
//   - Keys are strings. The local tiers have them as they are given; the remote tier has them behind [Config].Namespace.
//   - Values are handed out as the library does: of a []byte, local tiers but go-redis/cache's share the memory.
//   - Every entry has a TTL, [Config].TTL, in both tiers.
//   - All that go over go-redis (doppio, sturdyc, go-redis/cache, go-redis itself and "by hand") have clients of the same
//     options, those that doppio's README advises: deadlines are heeded, and one retry. See dial.
//   - Compression, encryption, metrics, tracing and refreshes are off unless they are the library's default.
//
// # Encodings
//
// Each library stores a struct as it does by default: doppio as JSON by github.com/go-json-experiment/json, go-redis/cache as MessagePack
// with S2, sturdyc as encoding/json. Where the library has none, encoding/json is used, which is what most services do.
// "go-redis+json/v2" and "by hand", the baselines, decode as doppio does, so that the distance is the cache's cost alone. Who
// else decodes with what says its description: remote hits of the others differ from the baseline by their encodings as well.
package peers
