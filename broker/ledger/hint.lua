-- KEYS session, due, stray
-- ARGV id, now, states that are looked at, stray or empty, stray kept for, bytes of a record's header,
--      destination as msgpack or empty, schema, where the record notes that the object came or empty
-- How many entries of the schedule changed.
local head = redis.call('GETRANGE', KEYS[1], 0, 511)

-- The facts follow the header: an array (three bytes of msgpack), in it principal and destination, strings. A principal
-- is an API key's id, 64 bytes at most: a fixstr, or a str8 with one more byte of length.
local function is_elsewhere()
  if ARGV[7] == '' or string.byte(head) ~= tonumber(ARGV[8]) then
    return false
  end
  local at = ARGV[6] + 4
  local kind, size = string.byte(head, at, at + 1)
  local destination = kind == 0xd9 and at + 2 + size or at + 1 + (kind or 0) % 32
  return string.sub(head, destination, destination + #ARGV[7] - 1) ~= ARGV[7]
end

if head ~= '' or redis.call('EXISTS', KEYS[1]) == 1 then
  -- The state is the record's second byte. Foreign and empty records have none that is in the table.
  local state = string.sub(head, 2, 2)
  if state == '' or not string.find(ARGV[3], state, 1, true) or is_elsewhere() then
    return 0
  end
  if ARGV[9] ~= '' and #head >= tonumber(ARGV[6]) then -- not into what is no record of ours
    redis.call('SETRANGE', KEYS[1], ARGV[9], '\1')
  end
elseif ARGV[4] == '' then
  return 0
else
  redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
end
return redis.call('ZADD', KEYS[2], 'LT', 'CH', ARGV[2], ARGV[1])
