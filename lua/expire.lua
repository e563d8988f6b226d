-- Purpose: give the units of holds past their deadline back.
-- KEYS:    prelude; from base on the holds
-- ARGV:    operations [base, 3, values]: "", customer or "", [[sku, quantity]…] or null
-- Answers: ["expired"] | ["not-due"] | ["orphan"]
-- Emits:   expire [hold, lines]
-- Flags:   allow-oom
-- With:    holds
--
-- A hold in the deadline index whose record is gone (deleted by hand, evicted) cannot say what it held: it moves to the
-- orphans. What the record held is known in PostgreSQL: an operation that brings those lines gives them back, once.

local BASE, WIDTH, values = unpack(operations)
local holds, repaired, by_key = load_holds(), {}, {}

for i, hold in ipairs(holds) do
  local key, customer, lines = KEYS[BASE + i - 1], values[WIDTH * i - 1], values[WIDTH * i]
  by_key[key] = by_key[key] or hold
  if not by_key[key] and lines ~= cjson.null and redis.call('SISMEMBER', ORPHANS, last_part(key)) == 1 then
    local record = { 'held', customer, 0, 0, 0, '', lines }
    by_key[key] = read_hold(key, cjson.encode(record))
    repaired[#repaired + 1] = last_part(key)
  end
end
for i = 1, #holds do
  holds[i] = by_key[KEYS[BASE + i - 1]]
end
load_stock(holds, true)

local events, orphans = {}, {}

local function judge(i)
  local hold, id = holds[i], last_part(KEYS[BASE + i - 1])
  if not hold then
    if not redis.call('ZSCORE', DEADLINES, id) then
      return { 'not-due' }
    end
    orphans[#orphans + 1] = id
    return { 'orphan' }
  end
  if hold[STATUS] ~= 'held' or now < hold[EXPIRES] then
    return { 'not-due' }
  end
  settle(hold, 'expired')
  events[#events + 1] = '["' .. id .. '",' .. hold[LINES_TEXT] .. ']'
  return { 'expired' }
end

local answers = {}
for i = 1, #holds do
  answers[i] = judge(i)
end

if #events > 0 then
  emit('expire', events, '[' .. table.concat(events, ',') .. ']')
  save_settled()
end
call_in_parts('SADD', ORPHANS, orphans)
call_in_parts('ZREM', DEADLINES, orphans)
call_in_parts('SREM', ORPHANS, repaired)

return finish(answers)
