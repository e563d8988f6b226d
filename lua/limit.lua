-- Purpose: charge requests to their limits by the generic cell rate algorithm: one number a subject tells all.
-- KEYS:    base… = the counter of each subject of an operation: when all that it was charged is paid off, in µs
-- ARGV:    [1] JSON operations, each [base, µs in which a unit is paid off, units at once, [units for each subject]]
-- Answers: status, units left, µs of each operation, flat as the prelude's: ["allowed", …, until one more is left]
--          | ["limited", …, until it would be allowed]; then none of its subjects was charged
-- Emits:   nothing
-- Flags:   allow-oom
--
-- Without the prelude: a limit is no truth of the shard, and is kept whatever the log's epoch is. Time is Redis' own, so
-- every process counts alike. The counter of a subject lives no longer than what it was charged is unpaid.

local SLACK_US = 0.001 -- of sums of fractions

local operations = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1e6 + tonumber(clock[2])

-- Unpaid µs of each subject of this call: read once, written once.
local unpaid, touched = {}, {}

-- A counter further ahead than the limit allows comes from a clock that stepped back, or from a higher limit.
local function load(key, most)
  if not unpaid[key] then
    unpaid[key] = math.max(0, tonumber(redis.call('GET', key) or '0') - now)
  end
  if unpaid[key] > most + 1 then
    unpaid[key] = most
    touched[key] = true
  end
  return unpaid[key]
end

local function judge(operation)
  local base, each, burst, units = operation[1], operation[2], operation[3], operation[4]
  local fullest, excess = 0, 0
  for i, count in ipairs(units) do
    local ahead = load(KEYS[base + i - 1], burst * each)
    fullest = math.max(fullest, ahead)
    excess = math.max(excess, ahead + (count - burst) * each)
  end
  local status = excess > SLACK_US and 'limited' or 'allowed'
  for i, count in ipairs(status == 'allowed' and units or {}) do
    local key = KEYS[base + i - 1]
    unpaid[key] = unpaid[key] + count * each
    touched[key] = true
    fullest = math.max(fullest, unpaid[key])
  end
  local left = math.floor(burst - fullest / each + SLACK_US)
  if status == 'limited' then
    return 'limited', left, math.ceil(excess)
  end
  return 'allowed', left, math.ceil(fullest - (burst - left - 1) * each)
end

local answers = {}
for i, operation in ipairs(operations) do
  answers[3 * i - 2], answers[3 * i - 1], answers[3 * i] = judge(operation)
end
for key in pairs(touched) do
  redis.call('SET', key, string.format('%.0f', now + math.ceil(unpaid[key])), 'PX', math.ceil(unpaid[key] / 1000))
end
return answers
