-- KEYS due
-- ARGV now, pending prefix, kept for[, id, cursor]…
-- How many were not waiting already. Whatever nobody is telling just now is due at once.
local added = 0

local function is_under_way(pending)
  for _, entry in ipairs(redis.call('LRANGE', pending, 0, -1)) do
    if is_claimed(entry, ARGV[1]) then
      return true
    end
  end
  return false
end

for place = 4, #ARGV, 2 do
  local id, pending = ARGV[place], ARGV[2] .. ARGV[place]
  if remember(pending, ARGV[place + 1], ARGV[1]) then
    added = added + 1
  end
  redis.call('PEXPIRE', pending, ARGV[3])
  if not is_under_way(pending) then
    redis.call('ZADD', KEYS[1], ARGV[1], id)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return added
