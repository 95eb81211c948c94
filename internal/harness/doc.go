// Package harness runs a fleet of cache instances, each a process of its own, for the attack and for the command doppio.
//
// An instance writes down what it does in a log ([Recorder]), which package history checks.
package harness
