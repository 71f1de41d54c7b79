-- Grants an epoch: a fencing number higher than any this agent id ever had.
-- KEYS  hb:epoch:{agent:ID}  agent:ID       ARGV  highest epoch the caller ever held (0: none)
-- Returns the epoch. A lost or poisoned counter starts again from the store's own clock in
-- milliseconds, so that a store that came back empty cannot hand out a number it gave before.
local limit = 9007199254740991
local function sane(text)
  local n = tonumber(text or '0') or 0
  if n >= 0 and n < limit then return math.floor(n) end
  return 0
end
local held = sane(redis.call('GET', KEYS[1]) or '0')
if held == 0 then
  local time = redis.call('TIME')
  held = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local epoch = math.max(held, sane(redis.call('HGET', KEYS[2], 'epoch') or '0'), sane(ARGV[1])) + 1
redis.call('SET', KEYS[1], string.format('%.0f', epoch))
redis.call('HDEL', KEYS[2], 'stoppedAt')
return epoch
