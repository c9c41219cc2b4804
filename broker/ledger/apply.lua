-- KEYS due, queues, events; then for each change: session, queue before, queue after, usage, tombstone
-- ARGV for each change: mark of the record before, record, id, look at, job at, kept for, state, epoch, changed at,
--      bytes settled, tombstone, how long it stands, reason
-- Empty: 'mark' there is none yet, 'look at' and 'job at' nowhere, 'kept for' ever, 'state' no event, 'bytes settled'
-- it pends as it did, 'how long it stands' as it did, 'reason' none. '=': as it is, a job perhaps in another queue.
-- 1: all are written. 0: none, because a record is another.
local KEYS_BEFORE, KEYS_EACH, WORDS_EACH = 3, 5, 13

local function is_as_before(session, mark)
  if mark == '' then
    return redis.call('EXISTS', session) == 0
  end
  return redis.call('GETRANGE', session, 0, #mark - 1) == mark
end

local function schedule_look(id, at)
  if at == '' then
    redis.call('ZREM', KEYS[1], id)
  elseif at ~= '=' then
    redis.call('ZADD', KEYS[1], at, id)
  end
end

local function schedule_job(id, before, after, at)
  if at == '=' then
    at = redis.call('ZSCORE', before, id) or ''
  end
  if at == '' or before ~= after then
    take_out(KEYS[2], before, id)
  end
  if at ~= '' then
    put(KEYS[2], after, id, at)
  end
end

local function write(session, record, kept_for)
  if kept_for == '' then
    redis.call('SET', session, record)
  elseif kept_for == '=' then
    redis.call('SET', session, record, 'KEEPTTL')
  else
    redis.call('SET', session, record, 'PX', kept_for)
  end
end

local function tell(id, state, epoch, at, reason)
  if reason == '' then
    append_event(KEYS[3], id, state, epoch, at)
  else
    append_event(KEYS[3], id, state, epoch, at, 'reason', reason)
  end
end

local function settle(usage, bytes)
  if redis.call('HINCRBY', usage, 'sessions', -1) > 0 then
    redis.call('HINCRBY', usage, 'bytes', '-' .. bytes)
  else
    redis.call('DEL', usage)
  end
end

local function bury(key, tombstone, stands_for)
  if tombstone ~= '' then
    redis.call('SET', key, tombstone, 'PX', stands_for)
  elseif stands_for ~= '' then
    redis.call('DEL', key) -- an expired session whose bytes came late: nothing may delete them any more
  end
end

local function apply(
  keys, _, record, id, look_at, job_at, kept_for, state, epoch, at, bytes, tombstone, stands_for, reason
)
  write(KEYS[keys + 1], record, kept_for)
  schedule_look(id, look_at)
  schedule_job(id, KEYS[keys + 2], KEYS[keys + 3], job_at)
  if state ~= '' then
    tell(id, state, epoch, at, reason)
  end
  if bytes ~= '' then
    settle(KEYS[keys + 4], bytes)
  end
  bury(KEYS[keys + 5], tombstone, stands_for)
end

local changes = #ARGV / WORDS_EACH
for number = 0, changes - 1 do
  if not is_as_before(KEYS[KEYS_BEFORE + number * KEYS_EACH + 1], ARGV[number * WORDS_EACH + 1]) then
    return 0
  end
end
for number = 0, changes - 1 do
  local words = number * WORDS_EACH
  apply(KEYS_BEFORE + number * KEYS_EACH, unpack(ARGV, words + 1, words + WORDS_EACH))
end
return 1
