-- KEYS due, pending, events
-- ARGV limit, now, until, session prefix
-- {id, entry as claimed, fields of its event or false, record or false, …}, earliest first; of each session the first.
local claimed = {}

local function claim(id)
  local entries = entries_of(KEYS[2], id)
  if #entries == 0 then
    redis.call('ZREM', KEYS[1], id)
    return true
  end
  local cursor, attempts, since = string.match(entries[1], ENTRY)
  entries[1] = string.format('%s %d %s %s', cursor, attempts + 1, since, ARGV[3])
  keep(KEYS[2], id, entries)
  redis.call('ZADD', KEYS[1], ARGV[3], id)
  local found = redis.call('XRANGE', KEYS[3], cursor, cursor)[1]
  for _, value in ipairs({id, entries[1], found and found[2] or false, redis.call('GET', ARGV[4] .. id)}) do
    claimed[#claimed + 1] = value
  end
  return false
end

-- Again only after leftovers were dropped, so that they cannot hide what waits behind them.
repeat
  local dropped = false
  local wanted = ARGV[1] - #claimed / 4
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, wanted)) do
    dropped = claim(id) or dropped
  end
until not dropped
return claimed
