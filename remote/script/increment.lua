-- Adds to an entry that is a decimal integer. Lua's numbers are doubles, exact only to 2^53. So the
-- sum is made by INCRBY, on the digits, which take the place of the record for a moment. Bounds are
-- compared as digits for the same reason.
-- ARGV: channel, message, floor, delta, token, record for a missing entry (payload "0"), its
-- milliseconds, lowest, highest ('' for none), token of the record whose tags were checked ('' for
-- none), 1 if one of them was invalidated
local key = KEYS[1]
-- Returns the payload of record s if the copy of the key is right before it, else nil.
local function payload(s)
  if not known(s) then return nil end
  local first = #s - word(s, 48) + 1
  local copy = first - #key
  if copy - 2 < HEADER + 3 or string.byte(s, copy - 2) * 256 + string.byte(s, copy - 1) ~= #key or string.sub(s, copy, first - 1) ~= key then return nil end
  return string.sub(s, first)
end
local old = redis.call('GET', key) or ''
local fresh = absent(old, ARGV[3], key)
if not fresh and known(old) and tagged(old) then
  if string.sub(old, 2, 17) ~= ARGV[10] then return redis.error_reply('DOPPIO-TAGGED the entry has tags') end
  fresh = ARGV[11] == '1'
end
local record, sum, overflow = ARGV[6], ARGV[4], false
-- Reports whether a < b. Both are written as Redis writes integers: no leading zeros, no plus.
local function below(a, b)
  local minus = string.byte(a) == 45
  if minus ~= (string.byte(b) == 45) then return minus end
  if #a ~= #b then return (#a < #b) ~= minus end
  if minus then return a > b end
  return a < b
end
if not fresh then
  -- Without the copy of the key before the digits, the record was cut short or moved here.
  local digits = string.match(payload(old) or '', '^-?%d+$')
  if not digits or string.byte(old, 1) ~= 2 or string.byte(old, 43) % 2 == 0 or (digits ~= '0' and not string.find(digits, '^-?[1-9]')) then
    return redis.error_reply('DOPPIO-NOTNUMERIC the entry is not an integer')
  end
  record = old
  redis.call('SET', key, digits, 'KEEPTTL')
  local reply = redis.pcall('INCRBY', key, ARGV[4])
  if type(reply) == 'table' then
    redis.call('SET', key, old, 'KEEPTTL')
    -- INCRBY refuses digits only of an integer beyond 64 bits.
    if string.find(reply.err, 'overflow') or string.find(reply.err, 'out of range') then overflow = true else return reply end
  else
    sum = redis.call('GET', key)
  end
end
overflow = overflow or (ARGV[8] ~= '' and below(sum, ARGV[8])) or (ARGV[9] ~= '' and below(ARGV[9], sum))
if overflow then
  if not fresh then redis.call('SET', key, old, 'KEEPTTL') end
  return redis.error_reply('DOPPIO-OVERFLOW the sum does not fit')
end
-- The announcement comes before the change, as elsewhere. If it is denied, the digits must not stay
-- in the place of the record.
local ok, id, ms, seq = pcall(announce)
if not ok then
  if not fresh then redis.call('SET', key, old, 'KEEPTTL') end
  error(id, 0)
end
local body = string.sub(record, 1, #record - word(record, 48))
local updated = string.sub(body, 1, 1) .. ARGV[5] .. string.sub(body, 18, 47) .. string.char(0, 0, 0, #sum) .. string.sub(body, 52) .. sum
if fresh then store(key, dated(stamped(updated, ms, seq)), ARGV[7]) else redis.call('SET', key, updated, 'KEEPTTL') end
return {1, id, sum, fresh and 1 or 0}
