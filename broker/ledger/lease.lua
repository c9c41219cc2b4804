-- KEYS jobs, events
-- ARGV limit, now, until, session prefix, schema, leasable states, byte of processing, processing, worker
-- {id, record, …}, longest visible first.
local HEADER = '>BBI4I4I2I2I2I8B' -- as in records.py
local HEADER_BYTES = struct.size(HEADER)
local COUNT_LIMIT = 65535
local leased, schema, processing = {}, tonumber(ARGV[5]), tonumber(ARGV[7])

local function begin(id, key, record)
  local _, state, revision, epoch, failures, lost, infrastructure, changed_at, heard = struct.unpack(HEADER, record)
  if state == processing then
    lost = math.min(lost + 1, COUNT_LIMIT) -- it is visible again, so whoever held it lost it
  end
  changed_at = math.max(tonumber(ARGV[2]), changed_at + 1)
  epoch = epoch + 1
  local header =
    struct.pack(HEADER, schema, processing, revision + 1, epoch, failures, lost, infrastructure, changed_at, heard)
  redis.call('SETRANGE', key, 0, header) -- in place: the facts are neither read nor replicated
  append_event(KEYS[2], id, ARGV[8], epoch, changed_at, 'worker', ARGV[9])
  leased[#leased + 1] = id
  leased[#leased + 1] = header .. string.sub(record, HEADER_BYTES + 1)
end

local function lease(id)
  local key = ARGV[4] .. id
  local record = redis.call('GET', key)
  if record and (string.byte(record) ~= schema or #record < HEADER_BYTES) then
    redis.call('ZADD', KEYS[1], ARGV[3], id) -- not of our writing: a newer broker will take it
    return false
  end
  if not record or not string.find(ARGV[6], string.sub(record, 2, 2), 1, true) then
    redis.call('ZREM', KEYS[1], id)
    return true
  end
  redis.call('ZADD', KEYS[1], ARGV[3], id)
  begin(id, key, record)
  return false
end

-- Again only after leftovers were dropped, so that they cannot hide what waits behind them; a flood of them is left to
-- the next call, so that nobody waits for one script.
local MOST_DROPPED = 1000
local dropped, before = 0, 0
repeat
  before = dropped
  local wanted = ARGV[1] - #leased / 2
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, wanted)) do
    dropped = lease(id) and dropped + 1 or dropped
  end
until dropped == before or dropped >= MOST_DROPPED
return leased
