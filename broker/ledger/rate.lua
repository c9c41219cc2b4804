-- KEYS rate
-- ARGV microseconds a turn takes, burst, turns wanted
-- {turns taken, microseconds until there is another}. The generic cell rate algorithm (ITU-T I.371, annex A): the key
-- holds the moment until which all turns so far are spoken for, and is gone when that is over.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each, most = tonumber(ARGV[1]), ARGV[1] * ARGV[2]
local spoken_for = tonumber(redis.call('GET', KEYS[1]) or 0)
spoken_for = math.min(math.max(spoken_for, now), now + most) -- a clock that was set back must not lock anybody out

local taken = math.min(math.floor((now + most - spoken_for) / each + 0.000001), tonumber(ARGV[3]))
if taken > 0 then
  spoken_for = spoken_for + taken * each
  redis.call('SET', KEYS[1], string.format('%.0f', spoken_for), 'PX', math.ceil((spoken_for - now) / 1000))
end
return {taken, math.max(math.ceil(spoken_for + each - most - now), 0)}
