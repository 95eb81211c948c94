// Package demo replays a request trace against a two-tier cache that several processes share, and
// says what it saved and whether it ever lied. It is a run of package fleet whose requests come
// from the trace.
package demo
