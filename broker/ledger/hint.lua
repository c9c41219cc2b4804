-- KEYS due
-- ARGV now, states that are looked at, stray kept for, bytes of a record's header, schema, session prefix, stray prefix,
--      where the record notes that the object came or empty[, id, stray or empty, destination as msgpack or empty]…
-- How many entries of the schedule changed.
local now, looked_at, header, heard_at = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[8]
local due = {}

-- The facts follow the header: an array (three bytes of msgpack), in it principal and destination, strings. A principal
-- is an API key's id, 64 bytes at most: a fixstr, or a str8 with one more byte of length.
local function is_elsewhere(head, place)
  if place == '' or string.byte(head) ~= tonumber(ARGV[5]) then
    return false
  end
  local at = header + 4
  local kind, size = string.byte(head, at, at + 1)
  local destination = kind == 0xd9 and at + 2 + size or at + 1 + (kind or 0) % 32
  return string.sub(head, destination, destination + #place - 1) ~= place
end

-- Whether there is something to look at.
local function hear(id, stray, place)
  local key = ARGV[6] .. id
  local head = redis.call('GETRANGE', key, 0, 511)
  if head == '' and redis.call('EXISTS', key) == 0 then
    if stray ~= '' then
      redis.call('SET', ARGV[7] .. id, stray, 'PX', ARGV[3])
    end
    return stray ~= ''
  end
  -- The state is the record's second byte. Foreign and empty records have none that is in the table.
  local state = string.sub(head, 2, 2)
  if state == '' or not string.find(looked_at, state, 1, true) or is_elsewhere(head, place) then
    return false
  end
  if heard_at ~= '' and #head >= header then -- not into what is no record of ours
    redis.call('SETRANGE', key, heard_at, '\1')
  end
  return true
end

for first = 9, #ARGV, 3 do
  if hear(ARGV[first], ARGV[first + 1], ARGV[first + 2]) then
    due[#due + 1] = now
    due[#due + 1] = ARGV[first]
  end
end
return #due > 0 and redis.call('ZADD', KEYS[1], 'LT', 'CH', unpack(due)) or 0
