-- The header of a record; see docs/architecture.md. Offsets count from 1.
local HEADER = 51
-- Reports whether s begins with a header of this version.
local function known(s) return #s >= HEADER and string.byte(s, 42) == 1 end
