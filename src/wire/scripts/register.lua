-- Grants an epoch, a fencing number higher than any this agent id ever had, unless a living holder has the id.
-- KEYS  hb:epoch:{agent:ID}  agent:ID  hb:lease:{agent:ID}
-- ARGV  highest epoch the caller ever held (0: none)   the caller's instance   time to live in ms
--       whose lease may be broken (an instance; *: any; empty: none)
--       time to live of the caller's exclusive lease in ms (0: the caller is not exclusive)   field value [field value ...]
-- Returns {'granted', epoch} or {'held', epoch, instance, holder, ms left of an exclusive lease (0: not exclusive)}.
-- A lease is alive while its hash was written less than three intervals and the slack ago; who ends gives it up by an
-- empty instance. An exclusive lease is a key of its own: it lives as long as its holder's agent may. Taken from a living
-- holder by an exclusive caller it is not granted but fenced: no beat of its holder is stored any more, the key stays
-- until that holder has ended its agent. An epoch is higher than the counter, the hash, the caller's and the store's own
-- clock in milliseconds, so that a store that came back empty, or from a backup, cannot hand out a number it gave before.
-- Nothing of the last beat stays: it belongs to the registration before.
local limit = 9007199254740991
local function sane(text)
  local n = tonumber(text or '0') or 0
  if n >= 0 and n < limit then return math.floor(n) end
  return 0
end
local function field(name) return redis.call('HGET', KEYS[2], name) or '' end
local hashed = sane(field('epoch'))
local interval = sane(field('intervalMs'))
local instance = field('instance')
local function foreign(holder)
  return holder ~= '' and holder ~= ARGV[2] and ARGV[4] ~= holder
end
local leased = redis.call('GET', KEYS[3]) or ''
local kept = foreign(leased) and (ARGV[4] ~= '*' or tonumber(ARGV[5]) > 0)
if not kept and foreign(instance) and ARGV[4] ~= '*'
  and redis.call('PTTL', KEYS[2]) > interval - math.max(interval / 6, 100) then
  return {'held', string.format('%.0f', hashed), instance, field('holder'), '0'}
end
local holder = ''
if leased == instance then holder = field('holder') end
if not kept or ARGV[4] == '*' then
  local time = redis.call('TIME')
  local clock = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  hashed = math.max(sane(redis.call('GET', KEYS[1]) or '0'), hashed, sane(ARGV[1]), clock) + 1
  redis.call('SET', KEYS[1], string.format('%.0f', hashed))
end
local epoch = string.format('%.0f', hashed)
if kept then
  return {'held', epoch, leased, holder, string.format('%.0f', redis.call('PTTL', KEYS[3]))}
end
redis.call('HDEL', KEYS[2], 'stoppedAt', 'beat', 'pid', 'slot', 'sequence', 'lastHeartbeat', 'cpuPercent', 'memoryMB')
redis.call('HSET', KEYS[2], 'epoch', epoch, 'instance', ARGV[2], unpack(ARGV, 6))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
if tonumber(ARGV[5]) > 0 then
  redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[5])
else
  redis.call('DEL', KEYS[3])
end
return {'granted', epoch}
