-- KEYS index
-- ARGV session prefix, limit, states or empty[, created at, id]
-- {id, created at, record or false, …} behind the given place, newest first. False: of another state, or forgotten.
local function is_before(one, other) -- as the index has it: Lua itself compares by the server's locale
  for place = 1, #one do
    local mine, yours = string.byte(one, place), string.byte(other, place) or 0
    if mine ~= yours then
      return mine < yours
    end
  end
  return #one < #other
end

-- How many stand before it. The one with that id may be gone, and a thousand may share its moment.
local function behind(at, id)
  local low = redis.call('ZCOUNT', KEYS[1], '(' .. at, '+inf')
  local high = low + redis.call('ZCOUNT', KEYS[1], at, at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(redis.call('ZREVRANGE', KEYS[1], middle, middle)[1], id) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local function record_of(id)
  local key = ARGV[1] .. id
  local state = redis.call('GETRANGE', key, 1, 1)
  if state == '' and redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', KEYS[1], id)
    return false
  end
  if ARGV[3] ~= '' and (state == '' or not string.find(ARGV[3], state, 1, true)) then
    return false
  end
  return redis.call('GET', key)
end

local first, walked = ARGV[4] and behind(ARGV[4], ARGV[5]) or 0, {}
local entries = redis.call('ZREVRANGE', KEYS[1], first, first + ARGV[2] - 1, 'WITHSCORES')
for place = 1, #entries, 2 do
  walked[#walked + 1] = entries[place]
  walked[#walked + 1] = entries[place + 1]
  walked[#walked + 1] = record_of(entries[place])
end
return walked
