package remote

import (
	"embed"
	"strings"

	"github.com/doppio-cache/doppio/internal/lane"
	"github.com/doppio-cache/doppio/internal/luascript"
)

//go:embed script/*.lua
var scriptFiles embed.FS

// lanePart stands for lane.Script among the parts of a script.
const lanePart = "lane"

var (
	scriptAcquire       = loadScript("acquire", "header", "lease")
	scriptFill          = loadScript("fill", "server_clock", "header", "lease", "store")
	scriptRelease       = loadScript("release", "header", "lease")
	scriptRenew         = loadScript("renew")
	scriptTTL           = loadScript("ttl", "header")
	scriptTagVersion    = loadScript("tag_version", "store", "raise_ttl")
	scriptExtendTTL     = loadScript("extend_ttl", "raise_ttl")
	scriptDeleteOlder   = loadScript("delete_older", "header", "record")
	scriptDeleteIfEmpty = loadScript("delete_if_empty")
	scriptCheckLanes    = loadScript("check_lanes", lanePart)
	scriptFloors        = loadScript("floors", lanePart)
	scriptRaiseStamp    = loadScript("raise_stamp", "header", "record")

	// These scripts announce.
	scriptSet              = loadScript("set", "server_clock", "deadline", lanePart, "announce_and_stamp", "store")
	scriptSetAll           = loadScript("set_all", "server_clock", "deadline", lanePart, "announce_and_stamp", "store")
	scriptSetIfAbsent      = loadScript("set_if_absent", "server_clock", "deadline", lanePart, "header", "record", "announce_and_stamp", "store")
	scriptSetTTL           = loadScript("set_ttl", "server_clock", "deadline", lanePart, "header", "record", "announce_and_stamp")
	scriptIncrement        = loadScript("increment", "server_clock", "deadline", lanePart, "header", "record", "announce_and_stamp", "store")
	scriptDelete           = loadScript("delete", lanePart, "header", "record", "announce_and_stamp")
	scriptDeleteAll        = loadScript("delete_all", lanePart, "header", "record")
	scriptCompareAndDelete = loadScript("compare_and_delete", lanePart, "header", "announce_and_stamp")
	scriptAnnounce         = loadScript("announce", lanePart)
	scriptRaiseFloor       = loadScript("raise_floor", lanePart)
	scriptBeginHistory     = loadScript("begin_history", lanePart)
	scriptPublish          = loadScript("publish", lanePart)
)

// loadScript puts the shared parts before a script. Each run defines all their functions, so a
// script gets only the parts that it needs. The files are embedded: a missing one fails the first
// test that runs.
func loadScript(name string, parts ...string) luascript.Script {
	var source strings.Builder
	for _, part := range append(parts, name) {
		if part == lanePart {
			source.WriteString(lane.Script)
			continue
		}
		b, err := scriptFiles.ReadFile("script/" + part + ".lua")
		if err != nil {
			panic(err)
		}
		source.Write(b)
	}
	return luascript.New(source.String())
}
