-- KEYS API keys
-- ARGV id, field of a revocation in force, field of their number
-- How often it was revoked by now; 0: it is already.
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('HSETNX', KEYS[1], ARGV[2], '') == 0 then
  return 0
end
return redis.call('HINCRBY', KEYS[1], ARGV[3], 1)
