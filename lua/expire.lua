-- Purpose: give the units of holds past their deadline back.
-- KEYS:    prelude; base = the hold
-- ARGV:    operation [base, customer or "", [[sku, quantity]…] or null]
-- Answers: ["expired"] | ["not-due"] | ["orphan"]
-- Emits:   expire [hold, lines]
-- Flags:   allow-oom
--
-- A hold in the deadline index whose record is gone (deleted by hand, evicted) cannot say what it held: it moves to the
-- orphans. What the record held is known in PostgreSQL: an operation that brings those lines gives them back, once.

local repaired = {}

local records = load_holds(function(found)
  for _, operation in ipairs(operations) do
    local key, customer, lines = KEYS[operation[1]], operation[2], operation[3]
    if not found[key] and lines ~= cjson.null and redis.call('SISMEMBER', ORPHANS, last_part(key)) == 1 then
      found[key] = { 'held', customer, 0, 0, 0, '', lines }
      repaired[#repaired + 1] = last_part(key)
    end
  end
end)

local expired, events, orphans = {}, {}, {}

local function judge(operation)
  local key = KEYS[operation[1]]
  local record = records[key]
  if not record then
    if not redis.call('ZSCORE', DEADLINES, last_part(key)) then
      return { 'not-due' }
    end
    orphans[#orphans + 1] = last_part(key)
    return { 'orphan' }
  end
  if record[STATUS] ~= 'held' or now < record[EXPIRES] then
    return { 'not-due' }
  end
  record[STATUS] = 'expired'
  expired[#expired + 1] = { key = key, record = record }
  events[#events + 1] = { last_part(key), record[LINES] }
  return { 'expired' }
end

local answers = {}
for i, operation in ipairs(operations) do
  answers[i] = judge(operation)
end

if #events > 0 then
  emit('expire', events)
  settle(expired, false)
end
call_in_parts('SADD', ORPHANS, orphans)
call_in_parts('ZREM', DEADLINES, orphans)
call_in_parts('SREM', ORPHANS, repaired)

return finish(answers)
