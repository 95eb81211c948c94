// Package harness runs a fleet of cache instances, each a process of its own, for the attack and
// for the command doppio.
//
// The parent starts processes ([Process]), which take seats one after another ([Seat]), and owns
// the source of truth behind the cache ([Source]) and the ways that instances take to their servers
// ([Way]), which package fault uses. An instance reads its configuration from its standard input
// ([Begin]), and writes down what it does in a log ([Recorder]), which package history checks.
package harness
