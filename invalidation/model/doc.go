// Package model is the coherence protocol of doppio as a state machine, small enough that all its
// states can be looked at. It exists to be read and to be tested: nothing imports it. A change of
// the protocol is made here first.
//
// # State
//
// A state (state.go) is all that the protocol remembers: the source's commits per key; what Redis
// holds, which is the remote records (nothing, a lease, or a value with its token, stamp and tag
// version), the tag's version, the remote floor, and the lane as the set of its ids; for each of
// two instances its validity table, local copies, chain, coherence lease, known floor and
// subscription, with what waits on it; the flights with those who joined them; and the calls that
// change something.
//
// Local stamps are positions, the order in which one instance learned things; remote stamps are ids
// of the lane. Values are versions: how many commits of their key they show. A Set commits where it
// is executed, so that the newest of two is the one that the remote tier has.
//
// Time is two moments, X-D and X, that may come between any two steps. A lease that was renewed by
// an echo sent before X-D has ended at X. So the bound D needs no clock.
//
// # Steps
//
// A step is one thing that happens at once in reality, too: a command or script at the server, a
// message handed over, a store to the local tier. explore.go lists them; reader.go has loads and
// reads, change.go the calls, together.go those that are made together, receiver.go the
// subscription, server.go what Redis does by itself. What may go wrong is a step as well: a message
// or a subscription is lost, a reply is lost with the change executed, yet to be executed or never,
// a record is evicted, the lane trimmed, all is flushed, or the server restarts from an old
// snapshot.
//
// # Properties
//
// properties.go checks every state, and reader.go what each caller is given:
//
//   - G1: the remote tier holds nothing that a reader who knows floor and tags would accept, and that is older than an
//     acknowledged invalidation.
//   - G2: what was acknowledged D ago is reflected by local reads, remote reads and joined loads, whatever was lost.
//   - G3: an instance, and whoever joins a load there, reads what the instance itself has changed, even if the call
//     returned an error.
//   - When all is quiet both tiers agree, and are not older than what was acknowledged.
//   - After a restart, a FLUSHALL or the end of the lane: a Set that was acknowledged since lasts. Its record is absent
//     neither for the instance that made it nor, once the loss was noticed, for others.
//   - After a restart from a snapshot, for which the first three are not promised (G5): when everybody has noticed, and
//     all is quiet, the remote tier holds nothing old.
//
// # Bounds
//
// config.go turns on a few features at a time, in two instances, one or two keys, one tag and lane,
// up to three flights at a time (any number one after the other) and three calls. explore goes
// through all states breadth first, so that a counterexample is as short as any. canon.go makes
// states equal that differ in nothing that can matter. A configuration whose states are not as many
// as noted fails its test: change the number when the protocol changes, and see that it did not
// shrink by mistake.
//
//	go test ./invalidation/model                                           seconds
//	go test ./invalidation/model -run TestProtocol_holdsInEveryState -model.large -timeout 60m   minutes, several GB
//
// mutants.go breaks one rule at a time, and every such protocol must break a property. It also
// lists rules that turned out to be spare.
//
// # What the model asks for beyond the obvious
//
//   - A lane is never empty while its messages are trusted: an echo that finds it empty appends to it.
//   - History is lost if the lane's last id is below the one applied, if the id applied last is absent from a lane that was not
//     trimmed, or if it lacks an id that the instance itself was acknowledged.
//   - A replay joins what was heard live only if the first live message follows on something that the replay covers.
//   - The remote floor belongs at the first id of the new history. An instance that notices a loss looks for the first id above
//     the last one that it knew of the lost history, and all instances that notice it find the same.
//   - A sender says what it knows of the lane. An append to a lane that ends before that begins the new history, with a
//     remote floor and above all known ids, so that a clock that goes back does no harm to a change whose sender had heard
//     of the newest lost one.
//   - An empty lane begins above the newest floor, and with a floor of its own if the sender had heard of the lane.
//   - On a Cluster a Set whose announcement is the first after a loss gives its record the announcement's id.
//   - A remote read without a coherence lease that runs asks for the remote floors, and only flights that did may be joined then.
//   - On a Cluster the data step of a Set must not be executed any more once its retry has begun.
//   - A message of changes made together counts, for all of them, in the instance that made them if one of the callers was
//     given an error. On one server it also says that all were made; on a Cluster it does not.
//
// # What is left out
//
// Several lanes and several caches, which share nothing but positions; hash collisions and the
// table's own floor, which only invalidate more; the life of entries, refreshes of live values,
// negative entries, and the policies for when there is no lease; SetIfAbsent, Increment and Expire,
// which are a Set or a Delete to this protocol; more than two changes made together, of which each
// is to the others what the second is to the first; a caller who leaves before its change was sent,
// which is never executed, as in "reply lost"; that a later change of a key ends the wait of an
// earlier one; the reclaiming part of Clear; the queue's overflow; resubscription after a gap,
// where the model keeps the subscription; split brain. Where the clock goes back with the data
// (three configurations), a change counts only if its sender knew the newest id that was lost, and
// an id is never given twice. On a Cluster a restart from a snapshot is left out. A reply from
// before a restart is taken to be lost with its connection. Liveness is not checked: that quiet
// comes is up to the retries, which never end.
package model
