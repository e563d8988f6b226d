-- Purpose: give the units of holds past their deadline back.
-- KEYS:    prelude; from base on the holds of each operation, in order
-- ARGV:    operations [base, values], flat: bundle or "", how many holds, customer or "", [[sku, quantity]…] or null
-- Answers: ["swept", how many holds ended]
-- Emits:   expire [hold, lines]
-- Flags:   allow-oom
-- With:    holds
--
-- A bundle is let go of once none of its holds waits for its deadline: they ended, here or before, or were extended, and
-- are in a later bundle. A hold in it whose record is gone (deleted by hand, evicted) cannot say what it held: it moves to
-- the orphans. What the record held is known in PostgreSQL: an operation that brings those lines gives them back, once.

local BASE, values = unpack(operations)
local WIDTH = 4 -- values of an operation

local names = {}
for index = BASE, #KEYS do
  names[#names + 1] = KEYS[index]
end
local texts = load_texts(names)

local by_key, repaired = {}, {}
for key, text in pairs(texts) do
  if string.sub(text, 1, #'["held"') == '["held"' then
    by_key[key] = read_hold(key, text)
  end
end

local index = BASE
for at = 1, #values, WIDTH do
  local key, customer, lines = KEYS[index], values[at + 2], values[at + 3]
  if lines ~= cjson.null and not texts[key] and redis.call('SISMEMBER', ORPHANS, last_part(key)) == 1 then
    local record = { 'held', customer, 0, 0, 0, '', lines }
    by_key[key] = by_key[key] or read_hold(key, cjson.encode(record))
    repaired[#repaired + 1] = last_part(key)
  end
  index = index + values[at + 1]
end

local holds = {}
for _, hold in pairs(by_key) do
  holds[#holds + 1] = hold
end
load_stock(holds, true)

local events, orphans, swept = {}, {}, {}

-- Ends a hold whose time is over; returns 1 for one that ended.
local function expire(hold)
  if hold[STATUS] ~= 'held' or now < hold[EXPIRES] then
    return 0
  end
  settle(hold, 'expired')
  events[#events + 1] = '["' .. hold[ID] .. '",' .. hold[LINES_TEXT] .. ']'
  return 1
end

-- How many of these holds ended, which are those of a bundle where there is one.
local function sweep(bundle, first, last)
  local deadline = tonumber(redis.call('ZSCORE', DEADLINES, bundle) or nil)
  local count, is_over = 0, deadline ~= nil
  for place = first, last do
    local key = KEYS[place]
    local hold = by_key[key]
    if hold then
      count = count + expire(hold)
      is_over = is_over and (hold[STATUS] ~= 'held' or hold[EXPIRES] > deadline)
    elseif deadline and not texts[key] then
      orphans[#orphans + 1] = last_part(key)
    end
  end
  if is_over then
    swept[#swept + 1] = bundle
  end
  return count
end

local answers = {}
index = BASE
for at = 1, #values, WIDTH do
  local after = index + values[at + 1]
  answers[#answers + 1] = { 'swept', sweep(values[at], index, after - 1) }
  index = after
end

if #events > 0 then
  emit('expire', events, '[' .. table.concat(events, ',') .. ']')
  save_settled()
end
call_in_parts('SADD', ORPHANS, orphans)
call_in_parts('ZREM', DEADLINES, swept)
call_in_parts('SREM', ORPHANS, repaired)

return finish(answers)
