-- KEYS due, jobs, events
-- ARGV now
-- {scheduled, due, first of them or '', visible jobs, first of them or '', all jobs, length of the stream}
local function ripe(schedule)
  local first = redis.call('ZRANGEBYSCORE', schedule, '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, 1)
  return redis.call('ZCOUNT', schedule, '-inf', ARGV[1]), first[2] or ''
end

local due, oldest_look = ripe(KEYS[1])
local visible, oldest_job = ripe(KEYS[2])
return {
  redis.call('ZCARD', KEYS[1]), due, oldest_look,
  visible, oldest_job, redis.call('ZCARD', KEYS[2]), redis.call('XLEN', KEYS[3]),
}
