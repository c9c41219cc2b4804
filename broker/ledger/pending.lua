-- Joined to the front of the scripts about `hook:{NN}:WEBHOOK`: by session what one webhook must still be told, in the order
-- in which it happened. An entry is "cursor attempts since until": attempts begun so far, from when its time to be told
-- counts, and how long it is claimed (0: not). `hooks:{NN}:WEBHOOK` says when a session's next attempt is due.
local ENTRY = '^(%S+) (%d+) (%d+) (%d+)$'

local function entries_of(pending, id)
  local entries = {}
  for entry in string.gmatch(redis.call('HGET', pending, id) or '', '[^,]+') do
    entries[#entries + 1] = entry
  end
  return entries
end

local function keep(pending, id, entries)
  if #entries == 0 then
    redis.call('HDEL', pending, id)
  else
    redis.call('HSET', pending, id, table.concat(entries, ','))
  end
end

-- Whether it was not there yet.
local function remember(pending, id, cursor, since)
  local entries, place = entries_of(pending, id), 1
  for number, entry in ipairs(entries) do
    local known = string.match(entry, ENTRY)
    if known == cursor then
      return false
    end
    if is_before(known, cursor) then
      place = number + 1
    end
  end
  table.insert(entries, place, cursor .. ' 0 ' .. since .. ' 0')
  keep(pending, id, entries)
  return true
end

local function is_claimed(entry, now)
  local _, _, _, claimed_until = string.match(entry, ENTRY)
  return tonumber(claimed_until) > tonumber(now)
end
