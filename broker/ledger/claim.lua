-- KEYS due
-- ARGV limit, now, until, session prefix, stray prefix, schema
-- {id, record or false, stray or false, …}, earliest first.
local claimed, schema = {}, tonumber(ARGV[6])

local function claim(id)
  local record = redis.call('GET', ARGV[4] .. id)
  local stray = not record and redis.call('GET', ARGV[5] .. id)
  if not record and not stray then
    redis.call('ZREM', KEYS[1], id)
    return true
  end
  redis.call('ZADD', KEYS[1], ARGV[3], id)
  -- What a newer broker wrote is left to a newer broker: one such record must not spoil a batch.
  if not record or string.byte(record) == schema then
    for _, value in ipairs({id, record, stray}) do
      claimed[#claimed + 1] = value
    end
  end
  return false
end

-- Again only after leftovers were dropped, so that they cannot hide what waits behind them; a flood of them is left to
-- the next call, so that nobody waits for one script.
local MOST_DROPPED = 1000
local dropped, before = 0, 0
repeat
  before = dropped
  local wanted = ARGV[1] - #claimed / 3
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, wanted)) do
    dropped = claim(id) and dropped + 1 or dropped
  end
until dropped == before or dropped >= MOST_DROPPED
return claimed
