-- Purpose: claim units for a limited time, all lines of a hold or none.
-- KEYS:    prelude; base = the hold, base+1… = what else it may have been called, then the group's memory where
--          position > 0
-- ARGV:    operation [base, customer or "", ttl ms, fingerprint, [[sku, quantity]…], position in its group (0: none),
--          swept: 1 once everything that was due when it first came is reclaimed, number of other names]
-- Answers: ["held", expires ms] | ["replayed", record, id] | ["key-reused"] | ["backlog"] | ["unknown-sku", sku…]
--          | ["insufficient-stock", sku, requested, available, …] | ["customer-limit-exceeded", sku, requested, limit, …]
--          | ["due"]: it would be refused, but holds are past their deadline: expire those, then ask again with swept
-- Emits:   reserve [hold, customer, created ms, expires ms, fingerprint, lines]
--
-- A hold's id comes from the client and its idempotency key, so the hold itself is the memory of the request. The holds
-- of a batch call share one memory beside that, [fingerprint, answers], so that its replay repeats its refusals too.
-- Such a group is judged as a whole, once nothing is due and with room below the high-water mark for all of it, because
-- its memory must be of one piece.

local keys, wanted, wanted_customers = {}, {}, {}
for _, operation in ipairs(operations) do
  for key = operation[1], operation[1] + operation[8] do
    keys[#keys + 1] = KEYS[key]
  end
  for _, line in ipairs(operation[5]) do
    wanted[line[1]] = true
    if operation[2] ~= '' then
      wanted_customers[line[1] .. '|' .. operation[2]] = true
    end
  end
end
local records = load_records(keys)
load_rows(wanted)
for field in pairs(wanted_customers) do
  local row = rows[string.match(field, '^([^|]+)')]
  if not row or row.limit == 0 then
    wanted_customers[field] = nil
  end
end
load_customers(wanted_customers)

local anything_due = nil
local function is_anything_due()
  if anything_due == nil then
    anything_due = #redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now, 'LIMIT', 0, 1) > 0
  end
  return anything_due
end

-- The refusal of a new hold, in order of precedence; nil when nothing stands against it.
local function refusal(customer, lines, swept)
  local unknown, short, over = { 'unknown-sku' }, { 'insufficient-stock' }, { 'customer-limit-exceeded' }
  for _, line in ipairs(lines) do
    local sku, quantity = line[1], line[2]
    local row = rows[sku]
    if not row then
      unknown[#unknown + 1] = sku
    else
      if row.available < quantity then
        short[#short + 1] = sku
        short[#short + 1] = quantity
        short[#short + 1] = row.available
      end
      if row.limit > 0 and (customers[sku .. '|' .. customer] or 0) + quantity > row.limit then
        over[#over + 1] = sku
        over[#over + 1] = quantity
        over[#over + 1] = row.limit
      end
    end
  end
  if #unknown > 1 then
    return unknown
  end
  if #short > 1 then
    return not swept and is_anything_due() and { 'due' } or short
  end
  if #over > 1 then
    return not swept and is_anything_due() and { 'due' } or over
  end
  return nil
end

local made, events = {}, {}

local function judge(operation)
  local key, customer, ttl, fingerprint, lines = KEYS[operation[1]], operation[2], operation[3], operation[4], operation[5]
  for index = operation[1], operation[1] + operation[8] do
    local earlier = records[KEYS[index]]
    if earlier then
      if earlier[FINGERPRINT] ~= fingerprint then
        return { 'key-reused' }
      end
      return { 'replayed', cjson.encode(earlier), last_part(KEYS[index]) }
    end
  end
  if backlog + #events >= HIGH_WATER then
    return { 'backlog' }
  end
  local refused = refusal(customer, lines, operation[7] == 1)
  if refused then
    return refused
  end
  local expires = now + ttl
  local record = { 'held', customer, now, expires, ttl, fingerprint, lines }
  for _, line in ipairs(lines) do
    move(line[1], -line[2], line[2], 0)
    if customer ~= '' and rows[line[1]].limit > 0 then
      count_customer(line[1] .. '|' .. customer, line[2])
    end
  end
  records[key] = record
  made[#made + 1] = key
  events[#events + 1] = { last_part(key), customer, now, expires, fingerprint, lines }
  return { 'held', expires }
end

local groups = {}

local function judge_in_group(operation, group, position)
  local memory = recall(group)
  if memory then
    if memory[1] ~= operation[4] then
      return { 'key-reused' }
    end
    local answer = memory[2][position]
    return answer[1] == 'held' and judge(operation) or answer
  end
  if operation[7] == 0 and is_anything_due() then
    return { 'due' }
  end
  if backlog + #operations > HIGH_WATER then
    return { 'backlog' }
  end
  local fresh = groups[group] or { fingerprint = operation[4], answers = {}, any_held = false }
  groups[group] = fresh
  if fresh.fingerprint ~= operation[4] then
    return { 'key-reused' }
  end
  local first = fresh.answers[position]
  if first then
    return first[1] == 'held' and judge(operation) or first
  end
  local answer = judge(operation)
  fresh.answers[position] = answer
  fresh.any_held = fresh.any_held or answer[1] == 'held'
  return answer
end

local answers = {}
for i, operation in ipairs(operations) do
  local position = operation[6]
  answers[i] = position == 0 and judge(operation) or judge_in_group(operation, KEYS[operation[1] + operation[8] + 1], position)
end

if #events > 0 then
  for group, fresh in pairs(groups) do
    if fresh.any_held then
      remember(group, { fresh.fingerprint, fresh.answers })
    end
  end
  emit('reserve', events)
  save_rows()
  save_customers()
  local deadlines = {}
  for _, key in ipairs(made) do
    local record = records[key]
    redis.call('SET', key, cjson.encode(record), 'PX', integer(record[TTL] + RETENTION_MS + LIVE_GRACE_MS))
    deadlines[#deadlines + 1] = integer(record[EXPIRES])
    deadlines[#deadlines + 1] = last_part(key)
  end
  call_in_parts('ZADD', DEADLINES, deadlines)
  save_memories()
end

return { now, answers }
