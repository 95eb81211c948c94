package replay

import "github.com/doppio-cache/doppio/bench/internal/result"

// slack is by how much more than its size a cache may hold before its hit ratio counts as that of a larger one.
const slack = 1.05

// Oversize says that a cache held so much more than its size that its hit ratio is not one of that size: it must not be set
// beside the optimum of it. Of caches that do not tell what they hold it says nothing.
func Oversize(p result.Point) bool { return p.Held > slack*float64(p.Size) }
