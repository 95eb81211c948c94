// Package replay asks caches of several sizes for the keys of a trace, and counts how many they had.
//
// Every cache sees the same requests in the same order, one at a time: it gets a key, and sets it if it missed. Sizes are
// in entries, values take no room that counts, and nothing expires. "At full speed" means that nothing is waited for
// between two requests, so a cache that applies or drops its writes in the background shows what that costs it; its
// figures differ a little from run to run. Two policies are no caches but bounds to compare with, and are exact: LRU, and
// the optimum that knows the future.
//
// rueidis, which is compared otherwise, is no policy here: its local tier holds what a server has replied and what the server
// has promised to invalidate, up to a number of bytes. There is none without Redis, and none of so many entries.
package replay
