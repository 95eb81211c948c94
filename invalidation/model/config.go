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

// config says which parts of the protocol are explored together. Each stays small enough to be explored to its end.
type config struct {
	name    string
	keys    int
	flights []place
	changes []change
	may     budget // what may go wrong, and how often
	tagged  bool   // key 0 carries a tag
	cluster bool   // keys and lane are in different slots: a change is two steps
	time    bool   // the moments X-D and X pass
	evict   bool   // the far tier may lose any record at any time
	reader  bool   // near reads of instance 1 are two looks, and the receiver's stores two steps
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
	{name: "core", keys: 1, flights: loadsAt(0, 1), changes: []change{{deletion, 0, 0}}, evict: true, states: 9144},
	{name: "bounded", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1}, time: true, evict: true, states: 7846},
	{name: "two loads", keys: 1, flights: loadsAt(0, 0), changes: []change{{deletion, 0, 0}, {deletion, 1, 0}}, states: 50906},
	{name: "lost messages", keys: 2, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{losses: 1}, time: true, states: 81588},
	{name: "two keys", keys: 2, flights: []place{{1, 0}, {1, 1}}, changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{losses: 1}, states: 39860},
	{name: "sets", keys: 1, flights: loadsAt(1), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, states: 6184},
	{name: "sets beside each other", keys: 1, flights: loadsAt(0), changes: []change{{setting, 0, 0}, {setting, 0, 0}}, states: 2618},
	{name: "tags", keys: 1, flights: loadsAt(0, 1), changes: []change{{tagging, 0, 0}}, tagged: true, states: 29935},
	{name: "tags and sets", keys: 1, flights: loadsAt(1), changes: []change{{tagging, 0, 0}, {setting, 1, 0}}, tagged: true, states: 6710},
	{name: "clear", keys: 1, flights: loadsAt(0, 1), changes: []change{{clearing, 0, 0}}, states: 7991},
	{name: "clear, bounded", keys: 1, flights: loadsAt(1), changes: []change{{clearing, 0, 0}}, may: budget{losses: 1, cuts: 1}, time: true, states: 19380},
	{name: "flushed", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1, flushes: 1}, time: true, states: 165490},
	{name: "cut and replay", keys: 2, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{cuts: 1, losses: 1, trims: 1}, states: 35216},
	{name: "restarted", keys: 1, flights: loadsAt(0), changes: []change{{deletion, 0, 0}}, may: budget{saves: 1}, states: 6918},
	{name: "reply lost", keys: 1, flights: loadsAt(0, 1), changes: []change{{deletion, 0, 0}}, may: budget{replies: 1}, states: 34948},
	{name: "reply of a set lost", keys: 1, flights: loadsAt(0), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, may: budget{replies: 1}, states: 91249},
	{name: "cluster", keys: 1, flights: loadsAt(0, 1), changes: []change{{deletion, 0, 0}}, cluster: true, states: 6868},
	{name: "cluster sets", keys: 1, flights: loadsAt(1), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, cluster: true, states: 10448},
	{name: "cluster reply lost", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {setting, 1, 0}}, cluster: true, may: budget{replies: 1}, states: 57655},
	{name: "reader in two looks", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1}, time: true, reader: true, states: 22346},
	{name: "restarted, and then a change", keys: 2, flights: loadsAt(0), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{saves: 1}, large: true, states: 1214472},
	{name: "more: core", keys: 1, flights: loadsAt(0, 1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1}, time: true, evict: true, large: true, states: 5083862},
	{name: "more: three loads", keys: 1, flights: loadsAt(0, 0, 1), changes: []change{{deletion, 0, 0}, {deletion, 1, 0}}, large: true, states: 4306324},
	{name: "more: three changes", keys: 2, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}, {deletion, 0, 0}}, may: budget{losses: 1}, large: true, states: 76020},
	{name: "more: sets", keys: 1, flights: loadsAt(1), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, may: budget{losses: 1}, time: true, large: true, states: 5798484},
	{name: "more: three sets", keys: 1, flights: loadsAt(0), changes: []change{{setting, 0, 0}, {setting, 0, 0}, {deletion, 1, 0}}, large: true, states: 77136},
	{name: "more: tags", keys: 1, flights: loadsAt(0, 1), changes: []change{{tagging, 0, 0}}, may: budget{losses: 1}, tagged: true, time: true, large: true, states: 19301706},
	{name: "more: clear", keys: 1, flights: loadsAt(1), changes: []change{{clearing, 0, 0}, {setting, 1, 0}}, may: budget{cuts: 1}, time: true, large: true, states: 642061},
	{name: "more: cut and replay", keys: 2, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {deletion, 0, 1}}, may: budget{cuts: 2, losses: 1, trims: 1}, time: true, large: true, states: 1214267},
	{name: "more: restarted", keys: 1, flights: loadsAt(0), changes: []change{{deletion, 0, 0}, {deletion, 0, 0}}, may: budget{saves: 1}, large: true, states: 2364740},
	{name: "more: cluster", keys: 1, flights: loadsAt(1, 1), changes: []change{{deletion, 0, 0}}, may: budget{losses: 1}, cluster: true, time: true, large: true, states: 62770},
	{name: "more: cluster sets", keys: 1, flights: loadsAt(0, 1), changes: []change{{setting, 0, 0}, {setting, 1, 0}}, cluster: true, large: true, states: 202591},
	{name: "more: cluster replies lost", keys: 1, flights: loadsAt(1), changes: []change{{deletion, 0, 0}, {setting, 1, 0}}, may: budget{replies: 2}, cluster: true, large: true, states: 176097},
}
