-- Purpose: give live holds more time, counted from now; never less than they have, never past their longest life.
-- KEYS:    prelude; from base on the holds, then the memories of the keyed operations
-- ARGV:    operations [base, 3, values]: fingerprint or "", ttl ms, longest life ms
-- Answers: ["held", record] | ["replayed", record] | ["key-reused"] | ["unknown-hold"]
--          | ["hold-expired"] | ["hold-not-live", status]
-- Emits:   extend [hold, expires ms]
-- With:    holds

local holds, extended, prolonged, events = load_holds(), {}, {}, {}

-- A hold's record as one that is held until then.
local function held_until(hold, expires)
  local before, behind = string.match(hold[TEXT], '^%["%l+",("[^"\\]*",%d+,)%d+(,.+)$')
  if before then
    return '["held",' .. before .. integer(expires) .. behind
  end
  local record = cjson.decode(hold[TEXT])
  record[STATUS], record[EXPIRES] = 'held', expires
  return cjson.encode(record)
end

local function judge(i)
  local hold, ttl, longest = holds[i], operations[3][3 * i - 1], operations[3][3 * i]
  local refused = not_live(hold)
  if refused then
    return refused
  end
  local before = hold[EXPIRES]
  local expires = math.max(before, math.min(now + ttl, tonumber(hold[CREATED]) + longest))
  hold[EXPIRES], hold[TEXT] = expires, held_until(hold, expires)
  extended[hold[ID]] = hold
  prolonged[hold[ID]] = prolonged[hold[ID]] or expires > before
  events[#events + 1] = '["' .. hold[ID] .. '",' .. integer(expires) .. ']'
  return { 'held', hold[TEXT] }, integer(expires)
end

local function replay(i, expires)
  local hold = holds[i]
  return hold and { 'replayed', held_until(hold, expires) } or { 'unknown-hold' }
end

local answers = answer_once(judge, replay)

if #events > 0 then
  emit('extend', events, '[' .. table.concat(events, ',') .. ']')
  for id, hold in pairs(extended) do
    keep(hold[KEY], hold[TEXT], hold[EXPIRES] - now + RETENTION_MS + LIVE_GRACE_MS)
    if prolonged[id] then -- otherwise it is in a bundle of this deadline
      live_until(id, integer(hold[EXPIRES]))
    end
  end
  save_deadlines()
end

return finish(answers)
