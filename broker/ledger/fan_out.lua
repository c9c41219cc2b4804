-- KEYS cursors, due
-- ARGV webhook, cursor before, cursor after, now, pending prefix, kept for[, id, cursor, since]…
-- 1: remembered. 0: another relay has moved the cursor.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for place = 7, #ARGV, 3 do
  local id, pending = ARGV[place], ARGV[5] .. ARGV[place]
  remember(pending, ARGV[place + 1], ARGV[place + 2])
  redis.call('PEXPIRE', pending, ARGV[6])
  redis.call('ZADD', KEYS[2], 'NX', ARGV[4], id) -- who waits to be told something earlier goes on waiting
end
redis.call('PEXPIRE', KEYS[2], ARGV[6])
return 1
