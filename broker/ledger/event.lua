-- Joined to the front of every script that appends to the stream. The age is the server's own: stream ids are too.
-- Kept for a week; longer while a reader named in `cursors:{NN}` has not passed it, yet no reader holds it for ever.
local KEPT_MS, HELD_MS = 7 * 86400000, 30 * 86400000

local function kept_from(stream)
  local now = redis.call('TIME')[1] * 1000
  local from, held_from = string.format('%.0f-0', now - KEPT_MS), string.format('%.0f-0', now - HELD_MS)
  for _, cursor in ipairs(redis.call('HVALS', (string.gsub(stream, '^events', 'cursors')))) do
    if is_before(cursor, from) then
      from = cursor
    end
  end
  return is_before(from, held_from) and held_from or from
end

local function append_event(stream, id, state, epoch, at, ...)
  local fields = {'*', 'id', id, 'state', state, 'epoch', epoch, 'at', at, ...}
  redis.call('XADD', stream, 'MINID', '~', kept_from(stream), unpack(fields))
end
