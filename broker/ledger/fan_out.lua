-- KEYS cursors, due, pending
-- ARGV webhook, cursor before, cursor after, now, kept for[, id, cursor, since]…
-- 1: remembered. 0: another relay has moved the cursor.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for place = 6, #ARGV, 3 do
  remember(KEYS[3], ARGV[place], ARGV[place + 1], ARGV[place + 2])
  redis.call('ZADD', KEYS[2], 'NX', ARGV[4], ARGV[place]) -- who waits to be told something earlier goes on waiting
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
return 1
