-- Purpose: give live holds more time, counted from now; never less than they have, never past their longest life.
-- KEYS:    prelude; base = the hold, base+1 = the operation's memory where keyed is 1
-- ARGV:    operation [base, keyed, fingerprint, ttl ms, longest life ms]
-- Answers: ["held", record] | ["replayed", record] | ["key-reused"] | ["unknown-hold"]
--          | ["hold-expired"] | ["hold-not-live", status]
-- Emits:   extend [hold, expires ms]

local records = load_holds()
local extended, events = {}, {}

local function judge(operation)
  local key = KEYS[operation[1]]
  local record = records[key]
  local refused = not_live(record)
  if refused then
    return refused
  end
  local expires = math.max(record[EXPIRES], math.min(now + operation[4], record[CREATED] + operation[5]))
  record[EXPIRES] = expires
  extended[#extended + 1] = { key = key, record = record }
  events[#events + 1] = { last_part(key), expires }
  return { 'held', cjson.encode(record) }, expires
end

local function replay(operation, expires)
  local record = records[KEYS[operation[1]]]
  if not record then
    return { 'unknown-hold' }
  end
  local first = { 'held', record[CUSTOMER], record[CREATED], expires, record[TTL], record[FINGERPRINT], record[LINES] }
  return { 'replayed', cjson.encode(first) }
end

local answers = {}
for i, operation in ipairs(operations) do
  answers[i] = once(operation, memory_key(operation), operation[3], judge, replay)
end

if #events > 0 then
  emit('extend', events)
  save_live(extended)
end

return finish(answers)
