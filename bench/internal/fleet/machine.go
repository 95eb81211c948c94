package fleet

import (
	"os"
	"strconv"
	"strings"
)

// machineTime is the time of all processors together, in ticks, as Linux counts it. Elsewhere it is not known.
type machineTime struct{ all, idle float64 }

func readMachineTime() machineTime {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	var t machineTime
	for i, field := range fields {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil || i == 0 || i > 8 { // what guests use is counted as user time already
			continue
		}
		t.all += ticks
		if i == 4 || i == 5 { // idle, and waiting for a disk
			t.idle += ticks
		}
	}
	return t
}

// busySince is the share of the machine that was in use, by whomever; 0 if that is not known.
func (t machineTime) busySince(before machineTime) float64 {
	if t.all <= before.all {
		return 0
	}
	return 1 - (t.idle-before.idle)/(t.all-before.all)
}
