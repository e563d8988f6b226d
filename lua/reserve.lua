-- Purpose: claim units for a limited time, all lines of a hold or none.
-- KEYS:    prelude; base = the hold, base+1… = what else it may have been called, then the group's memory where
--          position > 0
-- ARGV:    operation [base, customer or "", ttl ms, fingerprint, [[sku, quantity]…], position in its group (0: none),
--          swept: 1 once everything that was due when it first came is reclaimed, number of other names,
--          the customer as JSON, fingerprint and lines as JSON: "…",[…]]
-- Answers: ["held", expires ms] | ["replayed", record, id] | ["key-reused"] | ["backlog"] | ["unknown-sku", sku…]
--          | ["insufficient-stock", sku, requested, available, …] | ["customer-limit-exceeded", sku, requested, limit, …]
--          | ["due"]: it would be refused, but holds are past their deadline: expire those, then ask again with swept
-- Emits:   reserve [hold, customer, created ms, expires ms, fingerprint, lines]
--
-- A hold's id comes from the client and its idempotency key, so the hold itself is the memory of the request. The holds
-- of a batch call share one memory beside that, [fingerprint, answers], so that its replay repeats its refusals too.
-- Such a group is judged as a whole, once nothing is due and with room below the high-water mark for all of it, because
-- its memory must be of one piece.

local keys, wanted = {}, {}
for _, operation in ipairs(operations) do
  for key = operation[1], operation[1] + operation[8] do
    keys[#keys + 1] = KEYS[key]
  end
  for _, line in ipairs(operation[5]) do
    wanted[line[1]] = true
  end
end
local texts = load_texts(keys)
load_rows(wanted)

local wanted_customers = {}
for _, operation in ipairs(operations) do
  for _, line in ipairs(operation[2] ~= '' and operation[5] or {}) do
    local row = rows[line[1]]
    if row and row.limit > 0 then
      wanted_customers[line[1] .. '|' .. operation[2]] = true
    end
  end
end
load_customers(wanted_customers)

local function has(sku, customer)
  return customer ~= '' and customers[sku .. '|' .. customer] or 0
end

local function fits(customer, lines)
  for _, line in ipairs(lines) do
    local sku, quantity = line[1], line[2]
    local row = rows[sku]
    if not row or row.available < quantity or (row.limit > 0 and has(sku, customer) + quantity > row.limit) then
      return false
    end
  end
  return true
end

-- The refusal of a hold that does not fit, in order of precedence.
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
      if row.limit > 0 and has(sku, customer) + quantity > row.limit then
        over[#over + 1] = sku
        over[#over + 1] = quantity
        over[#over + 1] = row.limit
      end
    end
  end
  if #unknown > 1 then
    return unknown
  end
  if not swept and is_anything_due() then
    return { 'due' }
  end
  return #short > 1 and short or over
end

local events, fresh, deadlines = {}, {}, {}
local now_text, answers_of, expires_of = integer(now), {}, {}

-- The record and the event of a hold are put together from parts that came as JSON: encoding them here is what a reserve
-- would spend most of its time on.
local function make(key, operation)
  local customer, ttl, parts = operation[2], operation[3], operation[10]
  local answer = answers_of[ttl]
  if not answer then
    answer = { 'held', now + ttl }
    answers_of[ttl], expires_of[ttl] = answer, integer(now + ttl)
  end
  local expires, token = expires_of[ttl], last_part(key)
  local times = operation[9] .. ',' .. now_text .. ',' .. expires
  local count = #events + 1
  claim(customer, operation[5])
  fresh[key] = '["held",' .. times .. ',' .. ttl .. ',' .. parts .. ']'
  keep(key, fresh[key], ttl + RETENTION_MS + LIVE_GRACE_MS)
  events[count] = '["' .. token .. '",' .. times .. ',' .. parts .. ']'
  deadlines[2 * count - 1] = expires
  deadlines[2 * count] = token
  return answer
end

local function judge(operation)
  local customer, fingerprint, lines = operation[2], operation[4], operation[5]
  for index = operation[1], operation[1] + operation[8] do
    local earlier = texts[KEYS[index]] or fresh[KEYS[index]]
    if earlier then
      if cjson.decode(earlier)[FINGERPRINT] ~= fingerprint then
        return { 'key-reused' }
      end
      return { 'replayed', earlier, last_part(KEYS[index]) }
    end
  end
  if backlog + #events >= HIGH_WATER then
    return { 'backlog' }
  end
  if not fits(customer, lines) then
    return refusal(customer, lines, operation[7] == 1)
  end
  return make(KEYS[operation[1]], operation)
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
      remember(group, cjson.encode({ fresh.fingerprint, fresh.answers }))
    end
  end
  emit('reserve', events, '[' .. table.concat(events, ',') .. ']')
  save_rows()
  save_customers()
  call_in_parts('ZADD', DEADLINES, deadlines)
end

return finish(answers)
