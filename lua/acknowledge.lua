-- Purpose: let go of the events that PostgreSQL has applied. Never more: there is no MAXLEN anywhere.
-- KEYS:    prelude
-- ARGV:    operation [base, seq applied]
-- Answers: ["acknowledged", backlog]
-- Emits:   nothing
-- Flags:   allow-oom

local answers, before = {}, tonumber(meta[3])
local flushed = before
for i, operation in ipairs(operations) do
  flushed = math.max(flushed, math.min(operation[2], seq))
  answers[i] = { 'acknowledged', seq - flushed }
end

if flushed > before then -- else the file would be synced for nothing
  redis.call('XTRIM', EVENTS, 'MINID', integer(EPOCH) .. '-' .. integer(flushed + 1))
  redis.call('HSET', META, 'flushed', integer(flushed))
end

return finish(answers)
