-- Purpose: give the units of live holds back.
-- KEYS:    prelude; base = the hold
-- ARGV:    operation [base]
-- Answers: ["released", record] | ["unknown-hold"] | ["hold-expired"] | ["hold-not-live", status]
-- Emits:   release [hold, lines]
-- Flags:   allow-oom
--
-- Releasing a released hold is the retry of a lost reply, so it answers the same again.

local records = load_holds()
local released, events = {}, {}

local function judge(operation)
  local key = KEYS[operation[1]]
  local record = records[key]
  if record and record[STATUS] == 'released' then
    return { 'released', cjson.encode(record) }
  end
  local refused = not_live(record)
  if refused then
    return refused
  end
  record[STATUS] = 'released'
  released[#released + 1] = { key = key, record = record }
  events[#events + 1] = { last_part(key), record[LINES] }
  return { 'released', cjson.encode(record) }
end

local answers = {}
for i, operation in ipairs(operations) do
  answers[i] = judge(operation)
end

if #events > 0 then
  emit('release', events)
  settle(released, false)
end

return finish(answers)
