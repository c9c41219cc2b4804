-- Joined to the front of every script that compares stream ids, "milliseconds-sequence".
-- A Lua number holds all of the milliseconds; the sequence may have 64 bits: of two decimals the longer is the greater.
local function is_before(one, other)
  local one_ms, one_seq = string.match(one, '^(%d+)%-(%d+)$')
  local other_ms, other_seq = string.match(other, '^(%d+)%-(%d+)$')
  if not one_ms or not other_ms then
    return false
  end
  if one_ms ~= other_ms then
    return tonumber(one_ms) < tonumber(other_ms)
  end
  if #one_seq ~= #other_seq then
    return #one_seq < #other_seq
  end
  return one_seq < other_seq
end
