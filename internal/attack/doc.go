// Package attack runs a fleet of cache instances, each a process of its own, against real servers while things go wrong, and
// checks all that they did against what the cache promises: see internal/history.
//
// # The fleet
//
// Each instance is the test binary again. It reads a few hot keys with GetOrSet and Get, and writes: it commits a new version
// to the source, a register in the test's own process, and then calls Delete or Set. Even keys are changed by both, by one
// writer at a time; odd ones by Delete alone, by any number at once. Writers rest together, too: a lost message that another
// follows is noticed at once, one that nothing follows only by an echo.
//
// Instances reach their servers through proxies of their own, which know a subscription from other connections, and so can
// stall, cut or thin out either. Half of the instances bypass the local tier while it is incoherent, half use the gutter.
//
// # Faults
//
// One after another, in an order and with targets and durations that the seed decides: internal/fault has those that any fleet
// can suffer, and servers_test.go those that only this one does. Some are set off by what an instance does (the source stops it in a load, or kills it after its commit),
// and some have a second fault of an instance's path beside them. A server that loses what it acknowledged (a failover, an
// old RDB file) breaks what the promises assume: what was acknowledged from then until it was back counts for nothing, or,
// with -attack.strict, for nothing until the fleet has had four seconds to notice. After an old RDB file nobody commits in
// that time, since another change would hide that one was lost.
//
// # Running it
//
//	go test ./internal/attack                     # about three minutes
//	go test ./internal/attack -run TestAttack -v -timeout 2h -args -attack.duration=30m -attack.topology=cluster
//	go test ./internal/attack -run TestAttack -v -args -attack.seed=42 -attack.topology=standalone -attack.faults=out-of-memory,flushall
//
// A seed gives the same schedule, not the same interleaving. A run that finds a violation prints it, the command with
// its seed, and the folder in which the logs of all processes are. A run in which too little happened fails, too.
//
// With -attack.until=G1,G2,G3 a run ends with the first violation of one of these. Command mutants, a folder below, breaks
// the implementation on purpose, in one way after another, and expects this fleet to find out.
//
// The tests need Linux, as their faults do.
package attack
