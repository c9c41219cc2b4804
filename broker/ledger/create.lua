-- KEYS session, due, events[, idempotency]
-- ARGV record, look at, id, state, epoch, changed at[, fingerprint of the body, kept for]
-- 1: written. 0: the idempotency key came with another body. {id, record}: it exists.
local session, idempotency = KEYS[1], KEYS[4]
if idempotency then
  local made = redis.call('GET', idempotency)
  if made then
    local id, body = string.sub(made, 1, #ARGV[3]), string.sub(made, #ARGV[3] + 1)
    if body ~= ARGV[7] then
      return 0
    end
    local record = redis.call('GET', string.sub(session, 1, -#id - 1) .. id)
    if record then
      return {id, record}
    end
  end
end
if not redis.call('SET', session, ARGV[1], 'NX') then
  return {ARGV[3], redis.call('GET', session)}
end
if idempotency then
  redis.call('SET', idempotency, ARGV[3] .. ARGV[7], 'PX', ARGV[8])
end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
append_event(KEYS[3], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
return 1
