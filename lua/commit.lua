-- Purpose: sell the units of live holds.
-- KEYS:    prelude; base = the hold, base+1 = the operation's memory where keyed is 1
-- ARGV:    operation [base, keyed, fingerprint, reference or ""]
-- Answers: ["committed", record] | ["replayed", record] | ["key-reused"] | ["unknown-hold"]
--          | ["hold-expired"] | ["hold-not-live", status]
-- Emits:   commit [hold, reference, lines]
-- Flags:   allow-oom
--
-- The deadline is judged by this server's clock, swept or not: an expired hold never sells. Committing a committed hold
-- is the retry of a lost reply, so it answers the same again.

local records, texts = load_holds()
local sold, events = {}, {}

local function judge(operation)
  local key = KEYS[operation[1]]
  local record = records[key]
  if record and record[STATUS] == 'committed' then
    return { 'committed', texts[key] }, true
  end
  local refused = not_live(record)
  if refused then
    return refused
  end
  record[STATUS] = 'committed'
  local text = with_status(texts[key], 'committed')
  texts[key] = text
  sold[#sold + 1] = { key = key, record = record, text = text }
  events[#events + 1] = { last_part(key), operation[4], record[LINES] }
  return { 'committed', text }, true
end

local function replay(operation)
  local text = texts[KEYS[operation[1]]]
  return text and { 'replayed', text } or { 'unknown-hold' }
end

local answers = {}
for i, operation in ipairs(operations) do
  answers[i] = once(operation, memory_key(operation), operation[3], judge, replay)
end

if #events > 0 then
  emit('commit', events)
  settle(sold, true)
end

return finish(answers)
