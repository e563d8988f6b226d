-- Purpose: sell the units of live holds.
-- KEYS:    prelude; from base on the holds, then the memories of the keyed operations
-- ARGV:    operations [base, 2, values]: fingerprint or "", reference as JSON
-- Answers: ["committed", record] | ["replayed", record] | ["key-reused"] | ["unknown-hold"]
--          | ["hold-expired"] | ["hold-not-live", status]
-- Emits:   commit [hold, reference, lines]
-- Flags:   allow-oom
-- With:    holds
--
-- The deadline is judged by this server's clock, swept or not: an expired hold never sells. Committing a committed hold
-- is the retry of a lost reply, so it answers the same again.

local holds, events = load_holds(), {}
load_stock(holds)

local function judge(i)
  local hold = holds[i]
  if hold and hold[STATUS] == 'committed' then
    return { 'committed', hold[TEXT] }, 'true'
  end
  local refused = not_live(hold)
  if refused then
    return refused
  end
  settle(hold, 'committed')
  events[#events + 1] = '["' .. hold[ID] .. '",' .. operations[3][2 * i] .. ',' .. hold[LINES_TEXT] .. ']'
  return { 'committed', hold[TEXT] }, 'true'
end

local function replay(i)
  local hold = holds[i]
  return hold and { 'replayed', hold[TEXT] } or { 'unknown-hold' }
end

local answers = answer_once(judge, replay)

if #events > 0 then
  emit('commit', events, '[' .. table.concat(events, ',') .. ']')
  save_settled()
end

return finish(answers)
