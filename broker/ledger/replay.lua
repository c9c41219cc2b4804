-- KEYS due, pending
-- ARGV now, kept for[, id, cursor]…
-- How many were not waiting already. Whatever nobody is telling just now is due at once.
local added = 0

local function is_under_way(id)
  for _, entry in ipairs(entries_of(KEYS[2], id)) do
    if is_claimed(entry, ARGV[1]) then
      return true
    end
  end
  return false
end

for place = 3, #ARGV, 2 do
  local id = ARGV[place]
  if remember(KEYS[2], id, ARGV[place + 1], ARGV[1]) then
    added = added + 1
  end
  if not is_under_way(id) then
    redis.call('ZADD', KEYS[1], ARGV[1], id)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return added
