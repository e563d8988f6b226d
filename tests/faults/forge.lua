-- Purpose: an event that nobody made, at the log's end, as if a script had told it.
-- KEYS:    meta, events
-- ARGV:    "poison": an event that no flush can read | "gap": a number in the sequence without its event
-- Answers: the event's number

local epoch, seq = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'seq'))
local number = string.format('%.0f', tonumber(seq) + 1)
if ARGV[1] == 'poison' then
  redis.call('XADD', KEYS[2], epoch .. '-' .. number, 'kind', 'commit', 'at', redis.call('TIME')[1] .. '000', 'n', 1,
    'events', '[["no such hold","",[["no such SKU",1]]]]')
end
redis.call('HSET', KEYS[1], 'seq', number)
return tonumber(number)
