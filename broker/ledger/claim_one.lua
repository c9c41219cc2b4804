-- KEYS due, looked, session, stray
-- ARGV id, until, every, states that are looked at
-- {record or false, stray or false}, or nil: claimed this way a moment ago, or there is nothing to look at.
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[3]) then
  return false
end
local record = redis.call('GET', KEYS[3])
local stray = not record and redis.call('GET', KEYS[4])
if not record and not stray then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return false
end
-- A settled session is shown, but not scheduled.
if stray or string.find(ARGV[4], string.sub(record, 2, 2), 1, true) then
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
return {record, stray}
