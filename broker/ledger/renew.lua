-- KEYS session, jobs
-- ARGV id, epoch, until, schema, byte of processing
-- The record, or nil: the epoch is not the current lease. The revision stays, so that a finish under way still fits.
local HEADER = '>BBI4I4' -- the beginning of the one in records.py
local record = redis.call('GET', KEYS[1])
if not record or #record < struct.size(HEADER) or string.byte(record) ~= tonumber(ARGV[4]) then
  return false
end
local _, state, _, epoch = struct.unpack(HEADER, record)
if state ~= tonumber(ARGV[5]) or epoch ~= tonumber(ARGV[2]) then
  return false
end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return record
