-- Joined to the front of the scripts about `hook:{NN}:WEBHOOK:ID`: what one webhook must still be told of one session,
-- in the order in which it happened. An entry is "cursor attempts since until": attempts begun so far, from when its time to
-- be told counts, and how long it is claimed (0: not). `hooks:{NN}:WEBHOOK` says when the session's next attempt is due.
local ENTRY = '^(%S+) (%d+) (%d+) (%d+)$'

-- Whether it was not there yet.
local function remember(pending, cursor, since)
  local entry = cursor .. ' 0 ' .. since .. ' 0'
  for _, known in ipairs(redis.call('LRANGE', pending, 0, -1)) do
    local known_cursor = string.match(known, ENTRY)
    if known_cursor == cursor then
      return false
    end
    if is_before(cursor, known_cursor) then
      redis.call('LINSERT', pending, 'BEFORE', known, entry)
      return true
    end
  end
  redis.call('RPUSH', pending, entry)
  return true
end

local function is_claimed(entry, now)
  local _, _, _, claimed_until = string.match(entry, ENTRY)
  return tonumber(claimed_until) > tonumber(now)
end
