-- Purpose: one hold for one SKU, one script call a request; also what `script_rate` calls.
-- KEYS:    stock (hash: sku -> units available), reserved (hash: sku -> units), hold (string), deadlines (zset),
--          events (stream)
-- ARGV:    sku, quantity, hold id, hold as JSON, ttl in ms
-- Answers: units left, or -1 where there are too few
local left = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local quantity = tonumber(ARGV[2])
if left < quantity then
  return -1
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local ttl = tonumber(ARGV[5])
redis.call('HINCRBY', KEYS[1], ARGV[1], -quantity)
redis.call('HINCRBY', KEYS[2], ARGV[1], quantity)
redis.call('SET', KEYS[3], ARGV[4], 'PX', ttl)
redis.call('ZADD', KEYS[4], now + ttl, ARGV[3])
redis.call('XADD', KEYS[5], '*', 'kind', 'reserve', 'hold', ARGV[3], 'lines', ARGV[4])
return left - quantity
