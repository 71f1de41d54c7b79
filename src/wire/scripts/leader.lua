-- Takes the lead among the monitors of one store, renews it, or gives it up: the one that leads acts.
-- KEYS  hb:leader  {hb:leader}:fence
-- ARGV  the caller's instance   time to live in ms (0: give it up)   whose lead may be broken (an instance; empty: none)
-- Returns {'leads', value}, {'follows', value}, or {'free', ''} when it was given up. The value is that of hb:leader.
-- A fencing token is higher than the counter and the store's own clock in milliseconds, so that a store that came back
-- empty, or from a backup, cannot grant one that it granted before. What another program wrote under the name, what has
-- no time to live, or a longer one since the store's clock went back, is not a lead that stays.
local limit = 9007199254740991
local function sane(number)
  local n = tonumber(number or '0') or 0
  if n >= 0 and n < limit then return math.floor(n) end
  return 0
end
local held = redis.call('GET', KEYS[1])
local read, leader = pcall(cjson.decode, held or '')
if not read or type(leader) ~= 'table' or type(leader.instance) ~= 'string' or sane(leader.fence) == 0 then leader = nil end
if leader and leader.instance == ARGV[3] then leader = nil end
local own = leader and leader.instance == ARGV[1]
if tonumber(ARGV[2]) <= 0 then
  if own then redis.call('DEL', KEYS[1]) end
  return {'free', ''}
end
if leader and not own then
  local left = redis.call('PTTL', KEYS[1])
  if left < 0 or left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return {'follows', held}
end
local fence = sane(redis.call('GET', KEYS[2]) or '0')
if own and sane(leader.fence) >= fence then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {'leads', held}
end
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
fence = math.max(fence, clock) + 1
redis.call('SET', KEYS[2], string.format('%.0f', fence))
held = string.format('{"instance":"%s","since":%.0f,"fence":%.0f}', ARGV[1], clock, fence)
redis.call('SET', KEYS[1], held, 'PX', ARGV[2])
return {'leads', held}
