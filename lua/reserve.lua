-- Purpose: claim units for a limited time, all lines of a hold or none.
-- KEYS:    prelude; from base on the names of each operation, which are its hold and what else that may have been called;
--          then the groups' memories
-- ARGV:    operations [how many, base, last name, lines, runs]
--          lines: what the operations claim, each kind once: [lines as JSON, sku, quantity, sku, quantity…]
--          run: operations in a row that are alike [number of other names, ttl ms, swept: 1 once everything that was due
--          when they first came is reclaimed, which memory their group has (0: none), the group's fingerprint or "",
--          operations], and these are flat: customer as JSON, which lines, fingerprint or in a group the position there
-- Answers: ["held", expires ms] | ["replayed", record, id] | ["key-reused"] | ["backlog"] | ["unknown-sku", sku…]
--          | ["insufficient-stock", sku, requested, available, …] | ["customer-limit-exceeded", sku, requested, limit, …]
--          | ["due"]: it would be refused, but holds are past their deadline: expire those, then ask again with swept
-- Emits:   reserve [hold, customer, created ms, expires ms, fingerprint, lines]
--
-- A hold's id comes from the client and its idempotency key, so the hold itself is the memory of the request. The holds
-- of a batch call share one memory beside that, [fingerprint, position -> refusal], so that its replay repeats its
-- refusals too. Such a group is judged as a whole, once nothing is due and with room below the high-water mark for all
-- of it, because its memory must be of one piece.

local ASKED, BASE, LAST_NAME, kinds_of_lines, runs = unpack(operations)
local OTHERS, TTL, SWEPT, MEMORY, GROUP_MARK, OPERATIONS = 1, 2, 3, 4, 5, 6
local WIDTH = 3 -- values of an operation within its run
local GUEST = '""'

-- Most names are nobody's yet, which is told faster than nothing is read. Who may not ask that, reads.
local function may_be_taken()
  for first = BASE, LAST_NAME, MAX_ARGS do
    if redis.pcall('EXISTS', unpack(KEYS, first, math.min(first + MAX_ARGS - 1, LAST_NAME))) ~= 0 then
      return true
    end
  end
  return false
end

local texts = {} -- by name; what this batch makes is added
if may_be_taken() then
  local names = {}
  for name = BASE, LAST_NAME do
    names[#names + 1] = KEYS[name]
  end
  texts = load_texts(names)
end

local wanted = {}
for _, lines in ipairs(kinds_of_lines) do
  for at = 2, #lines, 2 do
    wanted[lines[at]] = true
  end
end
load_rows(wanted)

-- A customer's field for a SKU among the counts; false for a guest, whom nothing counts for.
local ids = {}
local function field_of(sku, customer)
  if customer == GUEST then
    return false
  end
  ids[customer] = ids[customer] or cjson.decode('[' .. customer .. ']')[1]
  return sku .. '|' .. ids[customer]
end

local function has(sku, customer)
  local field = field_of(sku, customer)
  return field and customers[field] or 0
end

local wanted_customers = {}
local function want_customers(customer, lines)
  for at = 2, #lines, 2 do
    local row = rows[lines[at]]
    local field = row and row.limit > 0 and field_of(lines[at], customer)
    if field then
      wanted_customers[field] = true
    end
  end
end

local is_any_limited = false
for _, row in pairs(rows) do
  is_any_limited = is_any_limited or row.limit > 0
end
for _, run in ipairs(is_any_limited and runs or {}) do
  for at = 1, #run[OPERATIONS], WIDTH do
    want_customers(run[OPERATIONS][at], kinds_of_lines[run[OPERATIONS][at + 1]])
  end
end
load_customers(wanted_customers)

local function fits(customer, lines)
  for at = 2, #lines, 2 do
    local sku, quantity = lines[at], lines[at + 1]
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
  for at = 2, #lines, 2 do
    local sku, quantity = lines[at], lines[at + 1]
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

local events = {}
local TOKEN_START = #KEYS[BASE] - #last_part(KEYS[BASE]) + 1

-- What the holds of a run have in common: their answer, and of their texts what tells their times.
local function times_of(run)
  local ttl = run[TTL]
  local expires = integer(now + ttl)
  local times = ',' .. integer(now) .. ',' .. expires .. ','
  return {
    answer = { 'held', now + ttl },
    expires = expires,
    of_event = times .. '"',
    of_record = times .. integer(ttl) .. ',"',
    keep_ms = ttl + RETENTION_MS + LIVE_GRACE_MS,
  }
end

-- The record and the event of a hold are put together from parts that came as JSON: encoding them here is what a reserve
-- would spend most of its time on. A fingerprint is hexadecimal, so quotes make it JSON.
local function make(key, customer, lines, fingerprint, times)
  for at = 2, #lines, 2 do
    local sku, quantity = lines[at], lines[at + 1]
    move(sku, -quantity, quantity, 0)
    local field = rows[sku].limit > 0 and field_of(sku, customer)
    if field then
      count_customer(field, quantity)
    end
  end
  local token, count = string.sub(key, TOKEN_START), #events + 1
  local record = '["held",' .. customer .. times.of_record .. fingerprint .. '",' .. lines[1] .. ']'
  texts[key] = record
  keep(key, record, times.keep_ms)
  events[count] = '["' .. token .. '",' .. customer .. times.of_event .. fingerprint .. '",' .. lines[1] .. ']'
  live_until(token, times.expires)
  return times.answer
end

local function judge(run, times, name, customer, lines, fingerprint)
  for index = name, name + run[OTHERS] do
    local key = KEYS[index]
    local earlier = texts[key]
    if earlier then
      if cjson.decode(earlier)[FINGERPRINT] ~= fingerprint then
        return { 'key-reused' }
      end
      return { 'replayed', earlier, last_part(key) }
    end
  end
  if backlog + #events >= HIGH_WATER then
    return { 'backlog' }
  end
  if not fits(customer, lines) then
    return refusal(customer, lines, run[SWEPT] == 1)
  end
  return make(KEYS[name], customer, lines, fingerprint, times)
end

-- Groups of which a hold is there with another fingerprint. It outlives the group's memory, which lives from the call on.
local strangers = {}
local name_after = BASE
for _, run in ipairs(next(texts) and runs or {}) do
  local first = name_after
  name_after = first + #run[OPERATIONS] / WIDTH * (1 + run[OTHERS])
  for index = first, run[MEMORY] > 0 and name_after - 1 or 0 do
    local earlier = texts[KEYS[index]]
    if earlier and cjson.decode(earlier)[FINGERPRINT] ~= run[GROUP_MARK] then
      strangers[run[MEMORY] .. run[GROUP_MARK]] = true
    end
  end
end

local groups = {}

-- The refusals that a memory tells; those of earlier versions told every answer, in order.
local function refusals_in(told)
  local found = {}
  for position, answer in pairs(told) do
    if answer[1] ~= 'held' then
      found[tonumber(position)] = answer
    end
  end
  return found
end

-- What is known of a run's group: the same answer for all of it, or the refusals of those positions that have one.
local function group_of(run)
  local key, mark = KEYS[LAST_NAME + run[MEMORY]], run[GROUP_MARK]
  local memory = recall(key)
  if memory then
    return memory[1] ~= mark and { 'key-reused' } or nil, { refusals = refusals_in(memory[2]) }
  end
  if strangers[run[MEMORY] .. mark] then
    return { 'key-reused' }
  end
  if run[SWEPT] == 0 and is_anything_due() then
    return { 'due' }
  end
  if backlog + ASKED > HIGH_WATER then
    return { 'backlog' }
  end
  local group = groups[key] or { fingerprint = mark, refusals = {}, any_held = false }
  groups[key] = group
  return group.fingerprint ~= mark and { 'key-reused' } or nil, group
end

-- A refusal that was told before is told again; `group` learns of a new one.
local function judge_in_group(group, position, run, times, name, customer, lines)
  local earlier = group.refusals[position]
  if earlier then
    return earlier
  end
  local answer = judge(run, times, name, customer, lines, run[GROUP_MARK])
  if answer == times.answer then
    group.any_held = true
  elseif answer[1] ~= 'replayed' then
    group.refusals[position] = answer
  end
  return answer
end

local answers, name = {}, BASE
for _, run in ipairs(runs) do
  local flat, times, to_all, group = run[OPERATIONS], times_of(run), nil, nil
  if run[MEMORY] > 0 then
    to_all, group = group_of(run)
  end
  for at = 1, #flat, WIDTH do
    local customer, lines, own = flat[at], kinds_of_lines[flat[at + 1]], flat[at + 2]
    if to_all then
      answers[#answers + 1] = to_all
    elseif group then
      answers[#answers + 1] = judge_in_group(group, own, run, times, name, customer, lines)
    else
      answers[#answers + 1] = judge(run, times, name, customer, lines, own)
    end
    name = name + 1 + run[OTHERS]
  end
end

if #events > 0 then
  for key, group in pairs(groups) do
    if group.any_held then
      local told = {}
      for position, answer in pairs(group.refusals) do
        told[integer(position)] = answer
      end
      remember(key, cjson.encode({ group.fingerprint, told }))
    end
  end
  emit('reserve', events, '[' .. table.concat(events, ',') .. ']')
  save_rows()
  save_customers()
  save_deadlines()
end

return finish(answers)
