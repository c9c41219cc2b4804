-- KEYS session, due, queue before, queue after, queues, events, usage, tombstone
-- ARGV mark of the record before, record, id, look at, job at, kept for, state, epoch, changed at, bytes settled,
--      tombstone, how long it stands[, 'reason', JSON]
-- Empty: 'look at' and 'job at' nowhere, 'kept for' ever, 'state' no event, 'bytes settled' it pends as it did.
-- 'job at' =: when it was, if it was there.
-- 1: written. 0: the record is another.
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return 0
end

local id = ARGV[3]

local function schedule_look(at)
  if at == '' then
    redis.call('ZREM', KEYS[2], id)
  else
    redis.call('ZADD', KEYS[2], at, id)
  end
end

local function schedule_job(at)
  local before, after, queues = KEYS[3], KEYS[4], KEYS[5]
  if at == '=' then
    at = redis.call('ZSCORE', before, id) or ''
  end
  if at == '' or before ~= after then
    take_out(queues, before, id)
  end
  if at ~= '' then
    put(queues, after, id, at)
  end
end

if ARGV[6] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[6])
end
schedule_look(ARGV[4])
schedule_job(ARGV[5])
if ARGV[7] ~= '' then
  append_event(KEYS[6], id, ARGV[7], ARGV[8], ARGV[9], unpack(ARGV, 13))
end
if ARGV[10] ~= '' then
  if redis.call('HINCRBY', KEYS[7], 'sessions', -1) > 0 then
    redis.call('HINCRBY', KEYS[7], 'bytes', '-' .. ARGV[10])
  else
    redis.call('DEL', KEYS[7])
  end
end
if ARGV[11] ~= '' then
  redis.call('SET', KEYS[8], ARGV[11], 'PX', ARGV[12])
elseif ARGV[7] ~= '' then
  redis.call('DEL', KEYS[8]) -- an expired session whose bytes came late: nothing may delete them any more
end
return 1
