-- KEYS due, pending, log
-- ARGV id, entry as claimed, now, again at, kept for, log kept for, log length, fields of the log…
-- 'again at' empty: it need not be told again. 1: the session's next is due now. 0: it is not.
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], '*', unpack(ARGV, 8))
redis.call('PEXPIRE', KEYS[3], ARGV[6])
local cursor, attempts, since = string.match(ARGV[2], ENTRY)
local entries, place = entries_of(KEYS[2], ARGV[1]), nil
for number, entry in ipairs(entries) do
  if string.match(entry, ENTRY) == cursor then
    place = number
  end
end
local is_holder = place and entries[place] == ARGV[2]

if ARGV[4] ~= '' then
  if is_holder then -- else somebody claimed it after us, or has told it: he says how it goes on
    entries[place] = string.format('%s %s %s 0', cursor, attempts, since)
    keep(KEYS[2], ARGV[1], entries)
    redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
  end
  return 0
end

if place then
  table.remove(entries, place)
  keep(KEYS[2], ARGV[1], entries)
end
if #entries == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
-- Somebody else may be telling the same again, or what comes next: the rest waits for him.
if place and not is_holder or is_claimed(entries[1], 0) then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
