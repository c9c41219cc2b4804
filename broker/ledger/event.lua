-- Joined to the front of every script that appends to the stream. The age is the server's own: stream ids are too.
local KEPT_MS = 7 * 86400000

local function append_event(stream, id, state, epoch, at, ...)
  local oldest = redis.call('TIME')[1] * 1000 - KEPT_MS
  redis.call('XADD', stream, 'MINID', '~', oldest, '*', 'id', id, 'state', state, 'epoch', epoch, 'at', at, ...)
end
