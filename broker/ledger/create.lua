-- KEYS due, events, sessions of the principal, usage
-- ARGV state, session prefix, idempotency prefix, indexes kept for, quota of sessions, quota of bytes, how many sessions;
--      then for each: id, record, look at, created at, bytes, index of its batch, index of its owner, idempotency key,
--      fingerprint of its body, kept for; then for each copy: which of the sessions it serves, id, record, look at
-- Empty: a quota without end, no such label, no idempotency key.
-- For each 1: written. 0: the idempotency key came with another body. 2, 3: the quota of sessions, of bytes is used
-- up. {id, record}: it exists.
local WORDS_BEFORE, WORDS_EACH, WORDS_OF_COPY = 7, 10, 4
local LAST_WORD = WORDS_BEFORE + ARGV[7] * WORDS_EACH -- before those of copies
local most_sessions, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local sessions, bytes = 0, 0 -- what is added here
local used_sessions, used_bytes = 0, 0
local due, indexes, answers = {}, {}, {}

if most_sessions or most_bytes then
  local used = redis.call('HMGET', KEYS[4], 'sessions', 'bytes')
  used_sessions, used_bytes = tonumber(used[1] or 0), tonumber(used[2] or 0)
end

local function note(index, at, id)
  if index ~= '' then
    local entries = indexes[index] or {}
    indexes[index] = entries
    entries[#entries + 1] = at
    entries[#entries + 1] = id
  end
end

-- What is there already: a session, or a reason why there must be none.
local function found(id, size, idempotency, body)
  local made = idempotency ~= '' and redis.call('GET', ARGV[3] .. idempotency)
  if made then
    local known = string.sub(made, 1, #id)
    if string.sub(made, #id + 1) ~= body then
      return 0
    end
    local record = redis.call('GET', ARGV[2] .. known)
    if record then
      return {known, record}
    end
  end
  if most_sessions and used_sessions + sessions + 1 > most_sessions then
    return 2
  end
  if most_bytes and used_bytes + bytes + size > most_bytes then
    return 3
  end
  return nil
end

local function create(id, record, look_at, at, size, batch, owner, idempotency, body, kept_for)
  size = tonumber(size)
  local answer = found(id, size, idempotency, body)
  if answer then
    return answer
  end
  if not redis.call('SET', ARGV[2] .. id, record, 'NX') then
    return {id, redis.call('GET', ARGV[2] .. id)}
  end
  if idempotency ~= '' then
    redis.call('SET', ARGV[3] .. idempotency, id .. body, 'PX', kept_for)
  end
  due[#due + 1] = look_at
  due[#due + 1] = id
  sessions, bytes = sessions + 1, bytes + size
  note(KEYS[3], at, id)
  note(batch, at, id)
  note(owner, at, id)
  append_event(KEYS[2], id, ARGV[1], 0, at)
  return 1
end

-- An id is 26 digits in base 32: random enough to throw dice with. Redis seeds math.random alike for every run.
local function dice(id, first, last)
  local thrown = 0
  for place = first, last do
    local digit = string.byte(id, place)
    thrown = thrown * 32 + (digit >= 97 and digit - 97 or digit - 24)
  end
  return thrown
end

-- For each new session two looks, somewhere in the index; the few look seldom, at eight. However records end, at most
-- about half of an index is stale.
local function prune(index, entries)
  local count, id = #entries / 2, entries[2]
  if dice(id, 3, 3) % 4 >= count then
    return
  end
  local size, keys = redis.call('ZCARD', index), {}
  local first, wanted = dice(id, 4, 11) % size, math.min(2 * math.max(count, 4), size)
  local ids = redis.call('ZRANGE', index, first, first + wanted - 1)
  if #ids < wanted then -- goes on at the beginning, so that no place is looked at more seldom than another
    for _, known in ipairs(redis.call('ZRANGE', index, 0, wanted - #ids - 1)) do
      ids[#ids + 1] = known
    end
  end
  for place, known in ipairs(ids) do
    keys[place] = ARGV[2] .. known
  end
  if redis.call('EXISTS', unpack(keys)) < #keys then
    for place, known in ipairs(ids) do
      if redis.call('EXISTS', keys[place]) == 0 then
        redis.call('ZREM', index, known)
      end
    end
  end
end

-- A copy is nothing but a record and its look.
local function copy(place, id, record, look_at)
  if answers[tonumber(place)] == 1 then
    redis.call('SET', ARGV[2] .. id, record)
    due[#due + 1] = look_at
    due[#due + 1] = id
  end
end

for first = WORDS_BEFORE + 1, LAST_WORD, WORDS_EACH do
  answers[#answers + 1] = create(unpack(ARGV, first, first + WORDS_EACH - 1))
end
for first = LAST_WORD + 1, #ARGV, WORDS_OF_COPY do
  copy(unpack(ARGV, first, first + WORDS_OF_COPY - 1))
end
if sessions > 0 then
  redis.call('ZADD', KEYS[1], unpack(due))
  redis.call('HINCRBY', KEYS[4], 'sessions', sessions)
  redis.call('HINCRBY', KEYS[4], 'bytes', string.format('%.0f', bytes))
end
for index, entries in pairs(indexes) do
  redis.call('ZADD', index, unpack(entries))
  redis.call('PEXPIRE', index, ARGV[4])
  prune(index, entries)
end
return answers
