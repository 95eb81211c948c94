-- Reports whether the header h is that of an awaited lease. It follows header.lua.
local function awaited(h) return known(h) and string.byte(h, 1) == 1 and math.floor(string.byte(h, 43) / 4) % 2 == 1 end
