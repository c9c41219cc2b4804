-- KEYS session, due, stray
-- ARGV id, now, states that are looked at, stray or empty, stray kept for, where the record notes an event
-- How many entries of the schedule changed.
if redis.call('EXISTS', KEYS[1]) == 1 then
  -- The state is the record's second byte. Foreign and empty records have none that is in the table.
  local state = redis.call('GETRANGE', KEYS[1], 1, 1)
  if state == '' or not string.find(ARGV[3], state, 1, true) then
    return 0
  end
  if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[6]) then -- not into what is no record of ours
    redis.call('SETRANGE', KEYS[1], ARGV[6], '\1')
  end
elseif ARGV[4] == '' then
  return 0
else
  redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
end
return redis.call('ZADD', KEYS[2], 'LT', 'CH', ARGV[2], ARGV[1])
