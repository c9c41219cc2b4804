-- KEYS session, queue, queues
-- ARGV mark of the record that is leased, id, until
-- 1: hidden until then. 0: the record is another. The revision stays, so that a finish under way still fits.
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then
  return 0
end
put(KEYS[3], KEYS[2], ARGV[2], ARGV[3])
return 1
