-- One beat, all or nothing: epoch check, hash, time to live, publication, pending order.
-- KEYS  agent:ID  hb:epoch:{agent:ID}  hb:control:{agent:ID}
-- ARGV  epoch  ttl-ms  channel  beat-JSON  field value [field value ...]
-- Returns {'ok', order or ''} or {'fenced', the higher epoch}.
local limit = 9007199254740991
local function sane(text)
  local n = tonumber(text or '0') or 0
  if n >= 0 and n < limit then return math.floor(n) end
  return 0
end
local epoch = tonumber(ARGV[1])
local counter = sane(redis.call('GET', KEYS[2]) or '0')
local held = math.max(counter, sane(redis.call('HGET', KEYS[1], 'epoch') or '0'))
if held > epoch then return {'fenced', string.format('%.0f', held)} end
if counter < epoch then redis.call('SET', KEYS[2], ARGV[1]) end
redis.call('HDEL', KEYS[1], 'stoppedAt')
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return {'ok', redis.call('GET', KEYS[3]) or ''}
