package model

// Kinds of changes.
const (
	deletion = iota
	setting
	tagging  // InvalidateTag
	clearing // Clear: the remote floor is raised
)

var kindNames = [...]string{"Delete", "Set", "InvalidateTag", "Clear"}

// change is a call that a configuration makes once.
type change struct{ kind, instance, key uint8 }

// place is where a configuration has loads, any number, one after the other.
type place struct{ instance, key uint8 }

// config says which parts of the protocol are explored together. Each stays small enough to be
// explored to its end.
type config struct {
	name    string
	keys    int
	flights []place
	changes []change
	may     budget // what may go wrong, and how often
	tagged  bool   // key 0 carries a tag
	cluster bool   // keys and lane are in different slots: a change is two steps
	shared  bool   // the first two changes, of one instance, are made together, with one message
	time    bool   // the moments X-D and X pass
	back    bool   // the server's clock goes back with its data
	evict   bool   // the remote tier may lose any record at any time
	reader  bool   // local reads of instance 1 are two looks, and the receiver's stores two steps
	large   bool   // takes minutes
	states  int    // as explored: a model that was emptied by mistake has fewer
}

// loadsAt gives places for loads of key 0.
func loadsAt(where ...uint8) []place {
	out := make([]place, len(where))
	for i, w := range where {
		out[i] = place{instance: w}
	}
	return out
}

var configs = []config{
	{name: "core", keys: 1, flights: loadsAt(0, 1), changes: []change{{deletion, 0, 0}}, evict: true, states: 8080},
	{name: "bounded", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1}, time: true, evict: true, states: 7846},
	{name: "two loads", keys: 1, flights: loadsAt(0, 0), changes: []change{{deletion, 0, 0}, {deletion, 1, 0}}, states: 39120},
	{name: "lost messages", keys: 2, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{losses: 1}, time: true, states: 81588},
	{name: "two keys", keys: 2, flights: []place{{1, 0}, {1, 1}}, changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{losses: 1}, states: 39860},
	{name: "sets", keys: 1, flights: loadsAt(1), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, states: 5731},
	{name: "sets beside each other", keys: 1, flights: loadsAt(0), changes: []change{{setting, 0, 0}, {setting, 0, 0}}, states: 2022},
	{name: "tags", keys: 1, flights: loadsAt(0, 1), changes: []change{{tagging, 0, 0}}, tagged: true, states: 24859},
	{name: "tags and sets", keys: 1, flights: loadsAt(1), changes: []change{{tagging, 0, 0}, {setting, 1, 0}}, tagged: true, states: 6022},
	{name: "clear", keys: 1, flights: loadsAt(0, 1), changes: []change{{clearing, 0, 0}}, states: 7314},
	{name: "clear, bounded", keys: 1, flights: loadsAt(1), changes: []change{{clearing, 0, 0}}, may: budget{losses: 1, cuts: 1}, time: true, states: 24381},
	{name: "flushed", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1, flushes: 1}, time: true, states: 82550},
	{name: "cut and replay", keys: 2, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{cuts: 1, losses: 1, trims: 1}, states: 35216},
	{name: "restarted", keys: 1, flights: loadsAt(0), changes: []change{{deletion, 0, 0}}, may: budget{saves: 1}, states: 5482},
	{name: "reply lost", keys: 1, flights: loadsAt(0, 1), changes: []change{{deletion, 0, 0}}, may: budget{replies: 1}, states: 30015},
	{name: "reply of a set lost", keys: 1, flights: loadsAt(0), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, may: budget{replies: 1}, states: 68776},
	{name: "cluster", keys: 1, flights: loadsAt(0, 1), changes: []change{{deletion, 0, 0}}, cluster: true, states: 5924},
	{name: "cluster sets", keys: 1, flights: loadsAt(1), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, cluster: true, states: 9563},
	{name: "cluster reply lost", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {setting, 1, 0}}, cluster: true, may: budget{replies: 1}, states: 54792},
	{name: "together", keys: 2, flights: []place{{0, 1}, {1, 1}}, changes: []change{{setting, 0, 0}, {setting, 0, 1}}, shared: true, states: 7980},
	{name: "together, one key", keys: 1, flights: loadsAt(0, 1), changes: []change{{setting, 0, 0}, {setting, 0, 0}}, shared: true, may: budget{replies: 1}, states: 116543},
	{name: "together, replies lost", keys: 2, flights: []place{{0, 1}}, changes: []change{{setting, 0, 0}, {setting, 0, 1}}, shared: true, may: budget{replies: 2}, states: 6897},
	{name: "together, deletions", keys: 2, flights: []place{{0, 0}, {1, 1}}, changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, shared: true, may: budget{replies: 1}, states: 120695},
	{name: "together, on a Cluster", keys: 2, flights: []place{{0, 0}, {1, 1}}, changes: []change{{setting, 0, 0}, {setting, 0, 1}}, shared: true, cluster: true, may: budget{replies: 1}, states: 337946},
	{name: "reader in two looks", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1}, time: true, reader: true, states: 22346},
	{name: "restarted while setting", keys: 1, changes: []change{{setting, 0, 0}, {setting, 1, 0}}, may: budget{saves: 1}, states: 1014044},
	{name: "restarted while setting, clock back", keys: 1, changes: []change{{setting, 0, 0}, {setting, 1, 0}}, may: budget{saves: 1}, back: true, states: 1455726},
	{name: "flushed while setting", keys: 1, changes: []change{{setting, 0, 0}, {setting, 1, 0}}, may: budget{flushes: 1, cuts: 1}, states: 72410},
	{name: "lane deleted, clock back", keys: 1, changes: []change{{clearing, 0, 0}, {clearing, 0, 0}, {setting, 1, 0}}, may: budget{deletes: 1}, back: true, states: 3430},
	{name: "cluster, flushed while setting", keys: 1, changes: []change{{setting, 0, 0}, {setting, 1, 0}}, may: budget{flushes: 1}, cluster: true, states: 7454},
	{name: "restarted, and then a change", keys: 2, flights: loadsAt(0), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{saves: 1}, large: true, states: 803316},
	{name: "more: core", keys: 1, flights: loadsAt(0, 1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1}, time: true, evict: true, large: true, states: 4647542},
	{name: "more: three loads", keys: 1, flights: loadsAt(0, 0, 1), changes: []change{{deletion, 0, 0}, {deletion, 1, 0}}, large: true, states: 3260084},
	{name: "more: three changes", keys: 2, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}, {deletion, 0, 0}}, may: budget{losses: 1}, large: true, states: 63848},
	{name: "more: sets", keys: 1, flights: loadsAt(1), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, may: budget{losses: 1}, time: true, large: true, states: 5470227},
	{name: "more: three sets", keys: 1, flights: loadsAt(0), changes: []change{{setting, 0, 0}, {setting, 0, 0}, {deletion, 1, 0}}, large: true, states: 65814},
	{name: "more: tags", keys: 1, flights: loadsAt(0, 1), changes: []change{{tagging, 0, 0}}, may: budget{losses: 1}, tagged: true, time: true, large: true, states: 16881819},
	{name: "more: clear", keys: 1, flights: loadsAt(1), changes: []change{{clearing, 0, 0}, {setting, 1, 0}}, may: budget{cuts: 1}, time: true, large: true, states: 851463},
	{name: "more: cut and replay", keys: 2, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{cuts: 2, losses: 1, trims: 1}, time: true, large: true, states: 1214267},
	{name: "more: restarted", keys: 1, flights: loadsAt(0), changes: []change{{deletion, 0, 0}, {deletion, 0, 0}}, may: budget{saves: 1}, large: true, states: 1616008},
	{name: "more: cluster", keys: 1, flights: loadsAt(1, 1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1}, cluster: true, time: true, large: true, states: 62770},
	{name: "more: cluster sets", keys: 1, flights: loadsAt(0, 1), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, cluster: true, large: true, states: 170850},
	{name: "more: cluster replies lost", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {setting, 1, 0}}, may: budget{replies: 2}, cluster: true, large: true, states: 173234},
}
