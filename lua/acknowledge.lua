-- Purpose: let go of the events that PostgreSQL has applied. Never more: there is no MAXLEN anywhere.
-- KEYS:    prelude
-- ARGV:    operation [base, seq applied]
-- Answers: ["acknowledged", backlog]
-- Emits:   nothing
-- Flags:   allow-oom

local answers = {}
for i, operation in ipairs(operations) do
  local applied = math.min(operation[2], seq)
  local flushed = math.max(applied, tonumber(meta[3]))
  redis.call('XTRIM', EVENTS, 'MINID', integer(EPOCH) .. '-' .. integer(flushed + 1))
  redis.call('HSET', META, 'flushed', integer(flushed))
  answers[i] = { 'acknowledged', seq - flushed }
end

return finish(answers)
