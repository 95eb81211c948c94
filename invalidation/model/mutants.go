package model

// rules are the deviations from the protocol. The zero value is the protocol itself.
type rules struct {
	noToken, tokenPerClient, stampAtEnd, remoteStampAtEnd                              bool // loads
	joinAny, joinOld, joinTrusted, removeOnMessage, tableFirst                         bool // local reads and joins
	noCoherenceLease, trustFirst, trustFromArrival, tailIgnored, emptyIsKnown          bool // echoes
	noGap, noReplay, trimIgnored, joinUnchecked, askedTooSoon                          bool // the chain
	historyIgnored, absentIsTrimmed, ownUncounted, noFlush                             bool // lost history
	floorAtNoticing, partedTwice, endedIsKnown, knowledgeIgnored                       bool // where the histories part
	emptyBelowFloor, emptyWithoutFloor, leftBuried                                     bool
	floorIgnored, floorUnasked, floorNotFetched, ownFloorUnknown                       bool // the remote floor
	tagUnchecked, tagAfterLoad                                                         bool // tags
	laneFirst, raiseAtBegin, noRaiseAtAck, ownApplied, ownSkippedAlways, copyAlways    bool // changes
	leftSkipped, firstNamed, toldTooSoon, hearsay                                      bool // changes made together
	noPending, noRaiseAtLoss, retryUnannounced, noDeadline, pendingFilled, pendingKept bool // changes whose outcome is unknown
}

// mutant is the protocol with one rule broken, and a configuration in which that is found out.
type mutant struct {
	name  string
	rules rules
	in    string
}

var mutants = []mutant{
	// A fill that compares nothing brings back what was read before a Delete.
	{"a fill needs no token", rules{noToken: true}, "core"},
	// A client whose second load takes the lease anew lets its first load, from before the change,
	// fill under the same token.
	{"one token per client", rules{tokenPerClient: true}, "two loads"},
	// A load's value is as old as its begin, whatever was learned while it ran.
	{"local stamp taken when the load ends", rules{stampAtEnd: true}, "core"},
	// The same for the remote record: a load from before a Clear would look as if it came after it.
	{"remote stamp taken when the load ends", rules{remoteStampAtEnd: true}, "clear"},
	// Who asks after a change must not be given what was read before it.
	{"any flight may be joined", rules{joinAny: true}, "core"},
	// Without a lease that runs nothing is heard of changes, so that a flight tells no more about
	// itself with time.
	{"a flight of any age may be joined without a lease", rules{joinOld: true}, "clear, bounded"},
	// A flight that began under a lease did not ask for the remote floor; when the lease has ended
	// it may be 2 D behind.
	{"a flight begun under a lease may be joined without one", rules{joinTrusted: true}, "clear, bounded"},
	// What is stored after the message came stays. The local engine may store at any time later.
	{"copies are removed, not judged when read", rules{removeOnMessage: true}, "core"},
	// Between the two looks the floor is raised and the lease renewed.
	{"a reader looks at the table before the lease", rules{tableFirst: true}, "reader in two looks"},
	// A message that was lost is never noticed.
	{"no coherence lease", rules{noCoherenceLease: true}, "bounded"},
	// Between the two stores what is behind the floor is served under the new lease.
	{"the lease is renewed before the floor is raised", rules{trustFirst: true}, "bounded"},
	// An echo tells what was so when it was sent. Its way back may have taken any time.
	{"the lease counts from the echo's arrival", rules{trustFromArrival: true}, "bounded"},
	// The last message was lost, and no later one shows the gap.
	{"an echo renews the lease in spite of a missing tail", rules{tailIgnored: true}, "bounded"},
	// An empty lane looks the same before the first change and after a FLUSHALL that took the first
	// change's id with it.
	{"an empty lane counts as applied", rules{emptyIsKnown: true}, "flushed"},
	// The message of one key is lost, that of another comes and ends the chain as if nothing were
	// missing.
	{"gaps are not noticed", rules{noGap: true}, "two keys"},
	// What was published during the cut is skipped.
	{"no replay after a cut", rules{noReplay: true}, "cut and replay"},
	// The lane no longer has what was published during the cut.
	{"a trimmed lane counts as replayed", rules{trimIgnored: true}, "cut and replay"},
	// XRANGE is executed, the next message is lost, and the one after it comes before the answer.
	{"replay and live messages are not compared", rules{joinUnchecked: true}, "cut and replay"},
	// A message is lost, then the lane: the new one tells nothing of it.
	{"a lane that begins anew is ignored", rules{historyIgnored: true}, "flushed"},
	// A server came back from an old snapshot, and a change was appended since: the id applied last
	// is absent, not trimmed.
	{"an absent id counts as trimmed", rules{absentIsTrimmed: true}, "restarted, and then a change"},
	// An instance knows the ids it was acknowledged before their messages come. That the lane lacks
	// one says what was lost.
	{"own ids are not looked for", rules{ownUncounted: true}, "restarted"},
	// Records that a restart brought back are as old as the snapshot.
	{"the remote floor stays when history was lost", rules{noFlush: true}, "restarted"},
	// What the new history has acknowledged until then lies below such a floor.
	{"the remote floor is put where the loss is noticed", rules{floorAtNoticing: true}, "restarted while setting"},
	// The second to notice raises above what was acknowledged since the first did.
	{"each who notices puts the floor anew", rules{partedTwice: true}, "restarted while setting"},
	// An instance that goes on through the restart knows ids of the new history before it notices.
	{"all that an instance knows counts as lost", rules{endedIsKnown: true}, "restarted while setting"},
	// Ids of the new history are then no higher than those of the old one, and nothing tells them
	// apart.
	{"the server does not heed what a sender knows", rules{knowledgeIgnored: true}, "restarted while setting, clock back"},
	// Floors that were kept are ahead of the new lane.
	{"an empty lane begins below the floors", rules{emptyBelowFloor: true}, "lane deleted, clock back"},
	// The reply to an announcement then does not show that the record's stamp is from before the
	// loss.
	{"an empty lane begins without a floor", rules{emptyWithoutFloor: true}, "cluster, flushed while setting"},
	// The data step's stamp is from before the loss.
	{"Cluster: a record below the new floor is left there", rules{leftBuried: true}, "cluster, flushed while setting"},
	// Clear removes nothing: the floor is what makes records absent.
	{"remote reads ignore the floor", rules{floorIgnored: true}, "clear"},
	// Without a subscription nothing tells of a Clear, and the remote tier still has the value.
	{"without a lease the floor is not asked for", rules{floorUnasked: true}, "clear, bounded"},
	// The message of a Clear is lost. Dropping the local tier does not help those who then read the
	// remote one.
	{"an echo does not bring the floor", rules{floorNotFetched: true}, "clear, bounded"},
	// The instance that cleared would find the old record again.
	{"a Clear's own floor is learned by message only", rules{ownFloorUnknown: true}, "clear"},
	// InvalidateTag removes no record either.
	{"remote reads do not compare the tag", rules{tagUnchecked: true}, "tags"},
	// A record that carries the version after the invalidation, with a value from before it.
	{"a load reads the tag's version after the source", rules{tagAfterLoad: true}, "tags"},
	// Whoever hears the message reads the remote tier too early, and no other message follows.
	{"Cluster: lane before data", rules{laneFirst: true}, "cluster"},
	// A load that began while the change was under way has read the remote tier before it.
	{"own messages skipped, table not raised when acknowledged", rules{ownSkippedAlways: true, noRaiseAtAck: true}, "core"},
	// Here the message does raise it: but the call has returned before it comes.
	{"table not raised when acknowledged", rules{ownApplied: true, noRaiseAtAck: true}, "core"},
	// It is executed later, when loads have begun that show what was before.
	{"own message skipped though the reply was lost", rules{ownSkippedAlways: true}, "reply of a set lost"},
	// Another's Set came second in the remote tier and was heard first.
	{"own copy kept though something else was learned", rules{copyAlways: true}, "sets"},
	// The remote tier still has the old value, which the instance's own reads would find.
	{"no pending set", rules{noPending: true}, "reply lost"},
	// Copies, and loads under way, are from before the commit.
	{"table not raised when the reply is lost", rules{noRaiseAtLoss: true}, "reply lost"},
	// The first attempt may never have been executed: others have heard nothing.
	{"a retry is not announced", rules{retryUnannounced: true}, "reply lost"},
	// It is executed after the retry of the one that was given up, and this instance hears nothing
	// of it.
	{"together: own message passed over though one of the callers has given up", rules{leftSkipped: true}, "together, replies lost"},
	// Nobody else hears of the second.
	{"together: the message names the first key only", rules{firstNamed: true}, "together"},
	// Whoever hears the message reads the second key's remote record too early.
	{"Cluster, together: announced when the first change is made", rules{toldTooSoon: true}, "together, on a Cluster"},
	// The other one was made, and so announced; this one's node was never reached.
	{"Cluster, together: what was announced counts as made", rules{hearsay: true}, "together, on a Cluster"},
	// The data step is executed after the retry, and its lane step was never sent: nobody hears of
	// the value.
	{"Cluster: a Set may be executed after its retry", rules{noDeadline: true}, "cluster reply lost"},
}

// spare are rules without which every property holds all the same, in all configurations. They are
// no mistakes: they spare work, or hold what the properties do not ask for.
var spare = []mutant{
	// That hides what is about to be changed. Acknowledging, and giving up, raise again.
	{"table raised at begin, too", rules{raiseAtBegin: true}, "sets beside each other"},
	// The first live message then comes after a gap, or the next echo shows a missing tail: a drop
	// that need not be.
	{"XRANGE before SUBSCRIBE", rules{askedTooSoon: true}, "cut and replay"},
	// The source has the commit, and the fill's token is gone when the change is executed after
	// all.
	{"loads of a pending key fill", rules{pendingFilled: true}, "reply lost"},
	// They are not served while the key is pending, and the retry raises the table.
	{"loads of a pending key are kept locally", rules{pendingKept: true}, "reply lost"},
}
