-- KEYS session, due, jobs, events, usage, tombstone
-- ARGV mark of the record before, record, id, look at, job at, kept for, state, epoch, changed at, bytes settled,
--      tombstone, how long it stands[, 'reason', JSON]
-- Empty: 'look at' and 'job at' nowhere, 'kept for' ever, 'state' no event, 'bytes settled' it pends as it did.
-- 1: written. 0: the record is another.
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return 0
end

local function place(schedule, at)
  if at == '' then
    redis.call('ZREM', schedule, ARGV[3])
  else
    redis.call('ZADD', schedule, at, ARGV[3])
  end
end

if ARGV[6] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[6])
end
place(KEYS[2], ARGV[4])
place(KEYS[3], ARGV[5])
if ARGV[7] ~= '' then
  append_event(KEYS[4], ARGV[3], ARGV[7], ARGV[8], ARGV[9], unpack(ARGV, 13))
end
if ARGV[10] ~= '' then
  if redis.call('HINCRBY', KEYS[5], 'sessions', -1) > 0 then
    redis.call('HINCRBY', KEYS[5], 'bytes', '-' .. ARGV[10])
  else
    redis.call('DEL', KEYS[5])
  end
end
if ARGV[11] ~= '' then
  redis.call('SET', KEYS[6], ARGV[11], 'PX', ARGV[12])
elseif ARGV[7] ~= '' then
  redis.call('DEL', KEYS[6]) -- an expired session whose bytes came late: nothing may delete them any more
end
return 1
