-- Adds to an entry that holds a decimal integer. Lua's numbers are doubles, exact only to 2^53, so the sum is Redis's own: INCRBY on the
-- digits, put for a moment where the record was. Bounds are compared as digits for the same reason.
-- ARGV: channel, message, floor, delta, token, record to begin with (payload "0"), its milliseconds, lowest, highest ('' for none), token of a record
-- whose tags were asked for ('*': tags do not matter), 1 if one of them was invalidated
local key = KEYS[1]
-- The payload of record s if the echo of the key stands right before it, else nil.
local function payload(s)
  if not known(s) then return nil end
  local first = #s - word(s, 48) + 1
  local echo = first - #key
  if echo - 2 < HEADER + 3 or string.byte(s, echo - 2) * 256 + string.byte(s, echo - 1) ~= #key or string.sub(s, echo, first - 1) ~= key then return nil end
  return string.sub(s, first)
end
local old = redis.call('GET', key) or ''
local fresh = absent(old, ARGV[3], key)
if not fresh and ARGV[10] ~= '*' and known(old) and tagged(old) then
  if string.sub(old, 2, 17) ~= ARGV[10] then return redis.error_reply('DOPPIO-TAGGED the entry has tags') end
  fresh = ARGV[11] == '1'
end
local record, sum, overflow = ARGV[6], ARGV[4], false
local function below(a, b) -- both as Redis writes integers: no leading zeros, no plus
  local minus = string.byte(a) == 45
  if minus ~= (string.byte(b) == 45) then return minus end
  if #a ~= #b then return (#a < #b) ~= minus end
  if minus then return a > b end
  return a < b
end
if not fresh then
  -- The digits are the payload only if the key's echo stands before them: a record that was cut short, or moved here, is not added to.
  local digits = string.match(payload(old) or '', '^-?%d+$')
  if not digits or string.byte(old, 1) ~= 2 or string.byte(old, 43) % 2 == 0 or (digits ~= '0' and not string.find(digits, '^-?[1-9]')) then
    return redis.error_reply('DOPPIO-NOTNUMERIC the entry is not an integer')
  end
  record = old
  redis.call('SET', key, digits, 'KEEPTTL')
  local reply = redis.pcall('INCRBY', key, ARGV[4])
  if type(reply) == 'table' then
    redis.call('SET', key, old, 'KEEPTTL')
    -- Digits that INCRBY does not take for an integer are those of one beyond 64 bits.
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
-- Announced before the change, as elsewhere; but here the digits must not stay in the record's place if that is denied.
local ok, id, ms, seq = pcall(announce)
if not ok then
  if not fresh then redis.call('SET', key, old, 'KEEPTTL') end
  error(id, 0)
end
local body = string.sub(record, 1, #record - word(record, 48))
local updated = string.sub(body, 1, 1) .. ARGV[5] .. string.sub(body, 18, 47) .. string.char(0, 0, 0, #sum) .. string.sub(body, 52) .. sum
if fresh then put(key, dated(stamped(updated, ms, seq)), ARGV[7]) else redis.call('SET', key, updated, 'KEEPTTL') end
return {1, id, sum, fresh and 1 or 0}
