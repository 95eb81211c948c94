package local

// engine is a store of entries by hash. At most one entry of a hash is alive at any time: set and drop mark
// what they replace or remove as dead before they return, and get returns only entries that are alive.
// Every engine gives each entry to its ledger once with admit and once with bury.
//
// get, set, drop and current may run beside each other, and beside wait and clear; close runs alone.
type engine interface {
	get(hash uint64) *Entry        // counts as a use; allocates nothing
	current(hash uint64) *Entry    // like get, not counted where the engine can avoid it
	set(e *Entry) bool             // replaces the entry of e.hash, whoever's it is
	drop(e *Entry, why cause) bool // removes e if it is alive; false if it was not
	wait()                         // returns when what was set and dropped before has been applied
	clear()                        // no entry set before it is alive when it returns
	close()                        // stops and joins every goroutine
	capacity() int64               // what the charges of the entries may add up to
}
