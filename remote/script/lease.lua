-- Whether the header h is that of a lease which somebody waits for. It follows header.lua.
local function awaited(h) return known(h) and string.byte(h, 1) == 1 and math.floor(string.byte(h, 43) / 4) % 2 == 1 end
