// Package result is what the commands measure, as they write it with --json and as the report reads it.
//
// A [Document] holds the measurement of one command, and the environment in which it was made. Numbers are in the unit
// that their field or row names; durations are in milliseconds unless a field says otherwise, so that a file can be
// read without this package.
package result
