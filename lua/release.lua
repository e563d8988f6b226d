-- Purpose: give the units of live holds back.
-- KEYS:    prelude; from base on the holds
-- ARGV:    operations [base, 1, values]: ""
-- Answers: ["released", record] | ["unknown-hold"] | ["hold-expired"] | ["hold-not-live", status]
-- Emits:   release [hold, lines]
-- Flags:   allow-oom
-- With:    holds
--
-- Releasing a released hold is the retry of a lost reply, so it answers the same again.

local holds, events = load_holds(), {}
load_stock(holds, true)

local function judge(i)
  local hold = holds[i]
  if hold and hold[STATUS] == 'released' then
    return { 'released', hold[TEXT] }
  end
  local refused = not_live(hold)
  if refused then
    return refused
  end
  settle(hold, 'released')
  events[#events + 1] = '["' .. hold[ID] .. '",' .. hold[LINES_TEXT] .. ']'
  return { 'released', hold[TEXT] }
end

local answers = {}
for i = 1, #holds do
  answers[i] = judge(i)
end

if #events > 0 then
  emit('release', events, '[' .. table.concat(events, ',') .. ']')
  save_settled()
end

return finish(answers)
