-- KEYS due, queues, events
-- ARGV now
-- {scheduled, due, first of them or '', visible jobs, first of them or '', all jobs, length of the stream}
local function ripe(schedule)
  return redis.call('ZCOUNT', schedule, '-inf', ARGV[1])
end

local function first_of(schedule)
  return redis.call('ZRANGEBYSCORE', schedule, '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, 1)[2] or ''
end

local visible, jobs = 0, 0
for _, queue in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  visible, jobs = visible + ripe(queue), jobs + redis.call('ZCARD', queue)
end
return {
  redis.call('ZCARD', KEYS[1]), ripe(KEYS[1]), first_of(KEYS[1]),
  visible, first_of(KEYS[2]), jobs, redis.call('XLEN', KEYS[3]),
}
