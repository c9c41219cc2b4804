-- Joined to the front of every script that appends to the stream. The age is the server's own: stream ids are too.
-- Kept for a week; longer while a reader named in `cursors:{NN}` has not passed it, yet no reader holds it for ever.
local KEPT_MS, HELD_MS = 7 * 86400000, 30 * 86400000

-- To the millisecond of the slowest cursor: what it has passed in that one is kept, too.
local function kept_from(stream)
  local now = redis.call('TIME')[1] * 1000
  local from = now - KEPT_MS
  for _, cursor in ipairs(redis.call('HVALS', 'cursors' .. string.sub(stream, #'events' + 1))) do
    local passed = tonumber(string.match(cursor, '^%d+'))
    if passed and passed < from then
      from = passed
    end
  end
  return math.max(from, now - HELD_MS)
end

local trimmed_from -- one script, one stream

local function append_event(stream, id, state, epoch, at, ...)
  trimmed_from = trimmed_from or kept_from(stream)
  redis.call(
    'XADD', stream, 'MINID', '~', trimmed_from, '*', 'id', id, 'state', state, 'epoch', epoch, 'at', at, ...
  )
end
