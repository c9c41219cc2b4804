-- KEYS queues, events
-- ARGV limit, now, until, session prefix, schema, leasable states, byte of processing, processing, worker, queue prefix,
--      zone…, or '*' for all
-- {id, record, …}, longest visible first, of the queues that hold one of the zones.
local HEADER = '>BBI4I4I2I2I2I8B' -- as in records.py
local HEADER_BYTES = struct.size(HEADER)
local COUNT_LIMIT = 65535
local limit, now, ends_at = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local leased, schema, processing = {}, tonumber(ARGV[5]), tonumber(ARGV[7])

local zones = {}
for place = 11, #ARGV do
  zones[ARGV[place]] = true
end

local function is_within(queue)
  for destination in string.gmatch(string.sub(queue, #ARGV[10] + 1), '[^,]+') do
    if zones['*'] or zones[destination] then
      return true
    end
  end
  return false
end

local function begin(id, key, record)
  local _, state, revision, epoch, failures, lost, infrastructure, changed_at, heard = struct.unpack(HEADER, record)
  if state == processing then
    lost = math.min(lost + 1, COUNT_LIMIT) -- it is visible again, so whoever held it lost it
  end
  changed_at = math.max(now, changed_at + 1)
  epoch = epoch + 1
  local header =
    struct.pack(HEADER, schema, processing, revision + 1, epoch, failures, lost, infrastructure, changed_at, heard)
  redis.call('SETRANGE', key, 0, header) -- in place: the facts are neither read nor replicated
  append_event(KEYS[2], id, ARGV[8], epoch, changed_at, 'worker', ARGV[9])
  leased[#leased + 1] = id
  leased[#leased + 1] = header .. string.sub(record, HEADER_BYTES + 1)
end

-- Whether it was a leftover, and is dropped.
local function lease(queue, id)
  local key = ARGV[4] .. id
  local record = redis.call('GET', key)
  if record and (string.byte(record) ~= schema or #record < HEADER_BYTES) then
    redis.call('ZADD', queue, ends_at, id) -- not of our writing: a newer broker will take it
    return false
  end
  if not record or not string.find(ARGV[6], string.sub(record, 2, 2), 1, true) then
    redis.call('ZREM', queue, id)
    return true
  end
  redis.call('ZADD', queue, ends_at, id)
  begin(id, key, record)
  return false
end

local ripe = {} -- by when their first job became visible
local entries = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES')
for place = 1, #entries, 2 do
  if is_within(entries[place]) then
    ripe[#ripe + 1] = {key = entries[place], first = tonumber(entries[place + 1])}
  end
end

local function enqueue(queue)
  local place = 1
  while ripe[place] and ripe[place].first <= queue.first do
    place = place + 1
  end
  table.insert(ripe, place, queue)
end

-- From the first queue all that came before the others' first. Leftovers are dropped, so that they cannot hide what waits
-- behind them; a flood of them is left to the next call, so that nobody waits for one script.
local MOST_DROPPED = 1000
local dropped = 0
while #ripe > 0 and #leased / 2 < limit and dropped < MOST_DROPPED do
  local queue = table.remove(ripe, 1)
  local upto, wanted = ripe[1] and ripe[1].first or now, limit - #leased / 2
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue.key, '-inf', upto, 'LIMIT', 0, wanted)) do
    dropped = lease(queue.key, id) and dropped + 1 or dropped
  end
  queue.first = note_first(KEYS[1], queue.key)
  if queue.first and queue.first <= now and queue.first < ends_at then -- else it begins with what was leased just now
    enqueue(queue)
  end
end
return leased
