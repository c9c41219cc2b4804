-- Joined to the front of every script that moves jobs. `queues:{NN}` holds the key of each queue that is not empty, by when
-- its first job is visible: a consumer finds what it may take without a glance at what is not for it.

-- After every change of a queue. When its first job is visible, or nil: it is empty.
local function note_first(queues, queue)
  local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  if #first == 0 then
    redis.call('ZREM', queues, queue)
  else
    redis.call('ZADD', queues, first[2], queue)
  end
  return tonumber(first[2])
end

local function put(queues, queue, id, at)
  redis.call('ZADD', queue, at, id)
  return note_first(queues, queue)
end

local function take_out(queues, queue, id)
  if redis.call('ZREM', queue, id) == 1 then
    note_first(queues, queue)
  end
end
