// Package fault names what can go wrong for a fleet, and makes it go wrong: for paths to Redis, for instances, for Redis itself.
//
// A fault is injected by one call, which does it, holds it for a while, and undoes it, also when it is given up early.
package fault
