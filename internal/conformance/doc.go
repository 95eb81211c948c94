// Package conformance is one table of every operation of tiered's public interface, run against every kind of server and
// through both local engines. It has tests only.
//
// A subtest is named server/engine/operation/case/instance. The instance is "same" where one client writes and is
// asked, so that local hits are possible, and "other" where a second client is asked, which has nothing local: what they
// answer must be equal. What the second one learns by an invalidation is polled for. A row that asks both in one run has no
// such part in its name.
//
// The clients of a server and an engine are shared by all rows; each row has caches of its own.
package conformance
