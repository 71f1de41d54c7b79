-- Renews the exclusive lease on an agent id, or gives it up.
-- KEYS  hb:lease:{agent:ID}  agent:ID  hb:epoch:{agent:ID}
-- ARGV  the caller's epoch   the caller's instance   time to live in ms (0: give it up)
-- Returns 1 when the caller holds the lease, or gave it up; 0 when it is another's, or a higher epoch was granted.
-- A store that lost the lease gets it again. PEXPIRE is taken by a full store, too.
local limit = 9007199254740991
local function sane(text)
  local n = tonumber(text or '0') or 0
  if n >= 0 and n < limit then return math.floor(n) end
  return 0
end
local leased = redis.call('GET', KEYS[1])
if leased and leased ~= ARGV[2] then return 0 end
if tonumber(ARGV[3]) <= 0 then
  redis.call('DEL', KEYS[1])
  if redis.call('HGET', KEYS[2], 'instance') == ARGV[2] then redis.call('HSET', KEYS[2], 'instance', '') end
  return 1
end
local held = math.max(sane(redis.call('GET', KEYS[3]) or '0'), sane(redis.call('HGET', KEYS[2], 'epoch') or '0'))
if held > tonumber(ARGV[1]) then return 0 end
if leased then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
