// Package redistest starts real servers for tests: standalone Redis and Valkey, Redis Cluster, Sentinel, TLS and
// ACLs, and a TCP proxy that misbehaves on request.
//
// Every server listens on a free port of 127.0.0.1, works in a temporary directory of its own, is known by the
// process that this package started, and is stopped and waited for in Cleanup. On Linux the kernel ends it should
// the test process die first. A missing binary fails the test: nothing here skips.
//
// # One server for a whole package
//
// A [Host] is the part of testing.TB that this package needs. [Shared] gives TestMain one:
//
//	var server *redistest.Server
//
//	func TestMain(m *testing.M) {
//		goleak.VerifyTestMain(redistest.Shared(m, func(h redistest.Host) {
//			server = redistest.Start(h)
//		}))
//	}
//
// The servers end before goleak looks. Tests that share a server separate themselves by key names or databases.
//
// # Waiting
//
// No function sleeps to be right. What has to become true is polled with a deadline: see [Eventually].
package redistest
