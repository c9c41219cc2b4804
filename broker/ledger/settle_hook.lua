-- KEYS due, pending, log
-- ARGV id, entry as claimed, now, again at, kept for, log kept for, log length, fields of the log…
-- 'again at' empty: it need not be told again. 1: the session's next is due now. 0: it is not.
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', unpack(ARGV, 8))
redis.call('PEXPIRE', KEYS[3], ARGV[6])
local cursor, attempts, since = string.match(ARGV[2], ENTRY)
local place, is_holder
for number, entry in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if string.match(entry, ENTRY) == cursor then
    place, is_holder = number - 1, entry == ARGV[2]
  end
end

if ARGV[4] ~= '' then
  if is_holder then -- else somebody claimed it after us, or has told it: he says how it goes on
    redis.call('LSET', KEYS[2], place, string.format('%s %s %s 0', cursor, attempts, since))
    redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
  end
  return 0
end

if place then
  redis.call('LREM', KEYS[2], 1, redis.call('LINDEX', KEYS[2], place))
end
local head = redis.call('LINDEX', KEYS[2], 0)
if not head then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
-- Somebody else may be telling the same again, or what comes next: the rest waits for him.
if place and not is_holder or is_claimed(head, 0) then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
