-- Purpose: change carts and orders together with the stock that they hold and sell: all of it, or nothing.
-- KEYS:    prelude; base… = the operation's keys, named below by their place among them, from 0
-- ARGV:    operation [base, swept, reference, reason, memory, known, ended, sold, made, returned, counted, put, window]:
--          what follows the reason is null where there is nothing, and else flat
--          memory    [place, fingerprint, memory as JSON]: what a retry is answered
--          known     [place, version, …]: records that this was judged by; version 0: there is none
--          ended     [place, …]: holds to give back, where they still live
--          sold      [place, …]: holds to sell, which must still live
--          made      [place, customer or "", expires ms, life ms, sku, quantity, is sold (0 or 1),
--                    customer and created ms and expires ms as JSON, lines as JSON, …]
--          returned  [sku, quantity, customer or "", …]: units that were sold and come back
--          counted   [coupon or coupon|customer, by, limit (0: none), …]
--          put       [place, keep ms (0: delete), kind, text, …]: records as JSON, which begins with their version
--          window    [order, end ms (0: none any more)]: until when its payment is waited for
-- Answers: ["done"] | ["replayed", memory] | ["key-reused"] | ["changed"] | ["backlog"]
--          | ["hold-expired", sku…] | ["unknown-sku", sku…] | ["insufficient-stock", sku, requested, available, …]
--          | ["customer-limit-exceeded", sku, requested, limit, …] | ["coupon-limit-reached", coupon]
--          | ["due"]: it would be refused, but holds are past their deadline: expire those, then ask again with swept
-- Emits:   trade of reserve, commit, release and expire as those verbs do; return [reference, reason, customer, lines];
--          cart [cart, record]; order [order, record]
-- Flags:   allow-oom
-- With:    holds
--
-- What a cart or an order becomes is judged by the caller; here is judged what others contend for: whether the records
-- are still those that it judged, whether the holds still live, stock, limits and coupons. A shopper's own holds never
-- stand in the shopper's way: what an operation gives back, it may claim again.

local function at(operation, place)
  return KEYS[operation[1] + place]
end

local SWEPT, REFERENCE, REASON, MEMORY, KNOWN, ENDED, SOLD, MADE, RETURNED, COUNTED, PUT, WINDOWS =
  2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
local MADE_PARTS = 9
local NONE, DONE = {}, { 'done' } -- one table for all operations: making one costs more than most would do with it

local function add(list, first, second, third)
  local count = #list
  list[count + 1], list[count + 2], list[count + 3] = first, second, third
  return list
end

local text_keys, hold_keys, memory_keys, wanted, wanted_counts = {}, {}, {}, {}, {}
local claimants = {} -- SKU, customer, SKU, customer…: whose units are counted where the SKU has a limit
local function want(sku, customer)
  wanted[sku] = true
  if customer ~= '' then
    add(claimants, sku, customer)
  end
end

for _, operation in ipairs(operations) do
  for list = MEMORY, WINDOWS do
    if operation[list] == cjson.null then
      operation[list] = NONE
    end
  end
  local made, returned, counted = operation[MADE], operation[RETURNED], operation[COUNTED]
  if operation[MEMORY] ~= NONE then
    local key = at(operation, operation[MEMORY][1])
    add(memory_keys, key)
    add(text_keys, key)
  end
  for list = ENDED, SOLD do
    for _, place in ipairs(operation[list]) do
      local key = at(operation, place)
      add(hold_keys, key)
      add(text_keys, key)
    end
  end
  for i = 1, #operation[KNOWN], 2 do
    add(text_keys, at(operation, operation[KNOWN][i]))
  end
  for i = 1, #made, MADE_PARTS do
    want(made[i + 4], made[i + 1])
  end
  for i = 1, #returned, 3 do
    want(returned[i], returned[i + 2])
  end
  for i = 1, #counted, 3 do
    wanted_counts[counted[i]] = true
  end
end

-- Carts, orders, pointers, holds and memories, each as it is after the operations so far.
local texts = load_texts(text_keys)

for _, key in ipairs(memory_keys) do
  memory_texts[key] = texts[key] or false
end

local records = {}
local function hold_of(key)
  if not records[key] and texts[key] then
    records[key] = read_hold(key, texts[key])
  end
  return records[key]
end

for _, key in ipairs(hold_keys) do
  local record = hold_of(key)
  for _, line in ipairs(record and record[LINES] or NONE) do
    want(line[1], record[CUSTOMER])
  end
end
load_rows(wanted)

local wanted_customers = {}
for i = 1, #claimants, 2 do
  local row = rows[claimants[i]]
  if row and row.limit > 0 then
    wanted_customers[claimants[i] .. '|' .. claimants[i + 1]] = true
  end
end
load_customers(wanted_customers)

local counts, counts_touched = {}, {}
local coupons = names_of(wanted_counts)
for i, uses in pairs(call_in_parts('HMGET', COUPONS, coupons)) do
  counts[coupons[i]] = tonumber(uses or '0')
end

local function is_changed(operation)
  local known = operation[KNOWN]
  for i = 1, #known, 2 do
    local text = texts[at(operation, known[i])]
    local version = text and tonumber(string.match(text, '^%[(%d+)') or '0') or 0
    if version ~= known[i + 1] then
      return true
    end
  end
  return false
end

-- Whether it is this very operation that changed the records: its caller lost the reply and asks again. A hold is made
-- by one operation alone; one that makes none is told by what it writes.
local function is_repeated(operation)
  local made, put = operation[MADE], operation[PUT]
  if made ~= NONE then
    local key = at(operation, made[1])
    return (texts[key] or redis.call('GET', key)) and true or false
  end
  local is_written = false
  for i = 1, #put, 4 do
    local text = texts[at(operation, put[i])]
    if text and text ~= put[i + 3] then
      return false
    end
    is_written = is_written or text ~= nil
  end
  return is_written
end

local function dead_holds(operation)
  local dead
  for _, place in ipairs(operation[SOLD]) do
    local record = hold_of(at(operation, place))
    if not record or record[STATUS] ~= 'held' or is_expired(record) then
      for _, line in ipairs(record and record[LINES] or { { '' } }) do
        dead = add(dead or { 'hold-expired' }, line[1])
      end
    end
  end
  return dead
end

-- Units of each SKU, and of each SKU and customer, that the operation gives back before it claims, once a hold.
local function given_back(operation)
  local units, seen = {}, {}
  for _, place in ipairs(operation[ENDED]) do
    local record = hold_of(at(operation, place))
    if record and record[STATUS] == 'held' and not seen[place] then
      seen[place] = true
      for _, line in ipairs(record[LINES]) do
        local field = line[1] .. '|' .. record[CUSTOMER]
        units[line[1]] = (units[line[1]] or 0) + line[2]
        units[field] = (units[field] or 0) + line[2]
      end
    end
  end
  return units
end

local events, encoded = {}, {}

-- Why holds cannot be made or units come back, in order of precedence; nil when nothing stands against them.
local function refusal(operation)
  local made = operation[MADE]
  local own = operation[ENDED] == NONE and {} or given_back(operation)
  local claims_more = false
  local unknown, short, over
  for i = 1, #made, MADE_PARTS do
    local customer, sku, quantity = made[i + 1], made[i + 4], made[i + 5]
    local row, mine = rows[sku], own[sku] or 0
    claims_more = claims_more or quantity > mine
    if not row then
      unknown = add(unknown or { 'unknown-sku' }, sku)
    else
      if row.available + mine < quantity then
        short = add(short or { 'insufficient-stock' }, sku, quantity, row.available + mine)
      end
      if row.limit > 0 then
        local field = sku .. '|' .. customer
        local has = customer == '' and 0 or customers[field] - (own[field] or 0)
        if has + quantity > row.limit then
          over = add(over or { 'customer-limit-exceeded' }, sku, quantity, row.limit)
        end
        own[field] = (own[field] or 0) - quantity
      end
      own[sku] = mine - quantity
    end
  end
  local returned = operation[RETURNED]
  for i = 1, #returned, 3 do
    if not rows[returned[i]] then
      unknown = add(unknown or { 'unknown-sku' }, returned[i])
    end
  end
  if claims_more and backlog + #events >= HIGH_WATER then
    return { 'backlog' }
  end
  if unknown then
    return unknown
  end
  local refused = short or over
  return refused and operation[SWEPT] == 0 and is_anything_due() and { 'due' } or refused
end

local function spent_coupon(operation)
  local counted = operation[COUNTED]
  for i = 1, #counted, 3 do
    local coupon, by, limit = counted[i], counted[i + 1], counted[i + 2]
    if by > 0 and limit > 0 and counts[coupon] + by > limit then
      return { 'coupon-limit-reached', coupon }
    end
  end
  return nil
end

local live_holds, puts, put_for_ms, windows = {}, {}, {}, {}

-- An event, of whose body the first part and the others are told as JSON.
local function tell(kind, first, others)
  add(events, kind)
  encoded[#events] = '["' .. kind .. '",[' .. first .. ',' .. others .. ']]'
end

local function id_in(key)
  return '"' .. last_part(key) .. '"'
end

local function end_holds(operation)
  for _, place in ipairs(operation[ENDED]) do
    local key = at(operation, place)
    local record = hold_of(key)
    if record and record[STATUS] == 'held' then
      texts[key] = end_hold(record, key, texts[key], is_expired(record) and 'expired' or 'released')
      tell(record[STATUS] == 'expired' and 'expire' or 'release', id_in(key), record[LINES_TEXT])
    end
  end
end

local function sell(operation, key)
  local record = hold_of(key)
  texts[key] = end_hold(record, key, texts[key], 'committed')
  tell('commit', id_in(key), cjson.encode(operation[REFERENCE]) .. ',' .. record[LINES_TEXT])
end

local function count_units(sku, customer, units)
  if customer ~= '' and rows[sku].limit > 0 then
    count_customer(sku .. '|' .. customer, units)
  end
end

local function make_holds(operation)
  local made = operation[MADE]
  for i = 1, #made, MADE_PARTS do
    local key, customer, expires, life = at(operation, made[i]), made[i + 1], made[i + 2], made[i + 3]
    local sku, quantity, told, lines = made[i + 4], made[i + 5], made[i + 7], made[i + 8]
    move(sku, -quantity, quantity, 0)
    count_units(sku, customer, quantity)
    texts[key] = '["held",' .. told .. ',' .. integer(life) .. ',"",' .. lines .. ']'
    tell('reserve', id_in(key), told .. ',"",' .. lines)
    if made[i + 6] == 1 then
      sell(operation, key)
    else
      add(live_holds, key, expires)
    end
  end
end

local function take_back(operation)
  local returned = operation[RETURNED]
  for i = 1, #returned, 3 do
    local sku, quantity, customer = returned[i], returned[i + 1], returned[i + 2]
    move(sku, quantity, 0, -quantity)
    count_units(sku, customer, -quantity)
    local others = { operation[REASON], customer, { { sku, quantity } } }
    tell('return', cjson.encode(operation[REFERENCE]), string.sub(cjson.encode(others), 2, -2))
  end
end

local function count_coupons(operation)
  local counted = operation[COUNTED]
  for i = 1, #counted, 3 do
    local coupon = counted[i]
    counts[coupon] = math.max(0, counts[coupon] + counted[i + 1])
    counts_touched[coupon] = true
  end
end

local function put_records(operation)
  local put = operation[PUT]
  for i = 1, #put, 4 do
    local key, keep_ms, kind, text = at(operation, put[i]), put[i + 1], put[i + 2], put[i + 3]
    texts[key] = keep_ms > 0 and text or nil
    puts[key], put_for_ms[key] = text, keep_ms
    if kind == 'cart' or kind == 'order' then
      tell(kind, id_in(key), text)
    end
  end
  add(windows, operation[WINDOWS][1], operation[WINDOWS][2])
end

local function judge(operation)
  if is_changed(operation) then
    return is_repeated(operation) and DONE or { 'changed' }
  end
  local refused = dead_holds(operation) or refusal(operation) or spent_coupon(operation)
  if refused then
    return refused
  end
  end_holds(operation)
  for _, place in ipairs(operation[SOLD]) do
    sell(operation, at(operation, place))
  end
  make_holds(operation)
  take_back(operation)
  count_coupons(operation)
  put_records(operation)
  if operation[MEMORY] ~= NONE then
    remember(at(operation, operation[MEMORY][1]), operation[MEMORY][3])
  end
  return DONE
end

local function replay(operation)
  return { 'replayed', memory_texts[at(operation, operation[MEMORY][1])] }
end

local answers = {}
for i, operation in ipairs(operations) do
  local memory = operation[MEMORY]
  answers[i] = once(operation, memory[1] and at(operation, memory[1]), memory[2], judge, replay)
end

if #events > 0 then
  emit('trade', events, '[' .. table.concat(encoded, ',') .. ']')
end
if #events > 0 or #windows > 0 or #fresh_memories > 0 then
  save_settled()
  for i = 1, #live_holds, 2 do
    local key, expires = live_holds[i], live_holds[i + 1]
    keep(key, texts[key], expires - now + RETENTION_MS + LIVE_GRACE_MS)
    live_until(last_part(key), integer(expires))
  end
  save_deadlines()
  local keys = {} -- of the records that go
  for key, text in pairs(puts) do
    if put_for_ms[key] > 0 then
      keep(key, text, put_for_ms[key])
    else
      keys[#keys + 1] = key
    end
  end
  for first = 1, #keys, MAX_ARGS do
    redis.call('DEL', unpack(keys, first, math.min(first + MAX_ARGS - 1, #keys)))
  end
  for field in pairs(counts_touched) do
    if counts[field] > 0 then
      redis.call('HSET', COUPONS, field, integer(counts[field]))
    else
      redis.call('HDEL', COUPONS, field)
    end
  end
  for i = 1, #windows, 2 do
    if windows[i + 1] > 0 then
      redis.call('ZADD', PAYMENTS, integer(windows[i + 1]), windows[i])
    else
      redis.call('ZREM', PAYMENTS, windows[i])
    end
  end
end

return finish(answers)
