// Package server gives a run its Redis: an embedded one, one that the user named, or one that the run starts itself, alone or
// as a Cluster of three. It tells what the servers counted meanwhile, and starts ways to them that misbehave on request.
package server
