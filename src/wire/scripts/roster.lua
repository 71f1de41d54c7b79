-- Writes one entry of the roster, unless it already holds one of a higher epoch.
-- KEYS  hb:agents
-- ARGV  agent id   epoch   entry as JSON
-- An epoch that no JSON reader can count to is none.
-- Returns 1 when it was written, 0 when a higher epoch stands there.
local known = redis.call('HGET', KEYS[1], ARGV[1])
local epoch = known and tonumber(string.match(known, '"epoch":(%d+)') or '0') or 0
if epoch > tonumber(ARGV[2]) and epoch <= 9007199254740991 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
