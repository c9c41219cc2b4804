-- KEYS API keys
-- ARGV id, field of a revocation in force, key
-- 1: added, and no longer revoked. 0: the id is taken.
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[3]) == 0 then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[2])
return 1
