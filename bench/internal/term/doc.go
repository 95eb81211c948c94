// Package term is how the commands talk to people: progress, tables, and numbers as people read them.
package term
