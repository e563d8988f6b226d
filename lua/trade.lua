-- Purpose: change carts and orders together with the stock that they hold and sell: all of it, or nothing.
-- KEYS:    prelude; base… = the operation's keys, named below by their place among them, from 0
-- ARGV:    operation [base, swept, reference, reason, memory or null, known, ended, sold, made, returned, counted, put,
--          windows]
--          memory    [place, fingerprint, memory as JSON]: what a retry is answered
--          known     [[place, version]…]: records that this was judged by; version 0: there is none
--          ended     [place…]: holds to give back, where they still live
--          sold      [place…]: holds to sell, which must still live
--          made      [[place, customer or "", created ms, expires ms, fingerprint, sku, quantity, is sold (0 or 1)]…]
--          returned  [[sku, quantity, customer or ""]…]: units that were sold and come back
--          counted   [[coupon or coupon|customer, by, limit (0: none)]…]
--          put       [[place, keep ms (0: delete), kind, text]…]: records as JSON, which begins with their version
--          windows   [[order, end ms (0: none any more)]…]
-- Answers: ["done"] | ["replayed", memory] | ["key-reused"] | ["changed"] | ["backlog"]
--          | ["hold-expired", sku…] | ["unknown-sku", sku…] | ["insufficient-stock", sku, requested, available, …]
--          | ["customer-limit-exceeded", sku, requested, limit, …] | ["coupon-limit-reached", coupon]
--          | ["due"]: it would be refused, but holds are past their deadline: expire those, then ask again with swept
-- Emits:   trade of reserve, commit, release and expire as those verbs do; return [reference, reason, customer, lines];
--          cart [cart, record]; order [order, record]
-- Flags:   allow-oom
--
-- What a cart or an order becomes is judged by the caller; here is judged what others contend for: whether the records
-- are still those that it judged, whether the holds still live, stock, limits and coupons. A shopper's own holds never
-- stand in the shopper's way: what an operation gives back, it may claim again.

local function at(operation, place)
  return KEYS[operation[1] + place]
end

local SWEPT, REFERENCE, REASON, MEMORY, KNOWN, ENDED, SOLD, MADE, RETURNED, COUNTED, PUT, WINDOWS =
  2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13

local hold_keys, text_keys, wanted, wanted_customers, wanted_counts = {}, {}, {}, {}, {}

local function want(sku, customer)
  wanted[sku] = true
  if customer ~= '' then
    wanted_customers[sku .. '|' .. customer] = true
  end
end

for _, operation in ipairs(operations) do
  for _, place in ipairs(operation[ENDED]) do
    hold_keys[#hold_keys + 1] = at(operation, place)
  end
  for _, place in ipairs(operation[SOLD]) do
    hold_keys[#hold_keys + 1] = at(operation, place)
  end
  for _, known in ipairs(operation[KNOWN]) do
    text_keys[#text_keys + 1] = at(operation, known[1])
  end
  for _, made in ipairs(operation[MADE]) do
    hold_keys[#hold_keys + 1] = at(operation, made[1])
    want(made[6], made[2])
  end
  for _, returned in ipairs(operation[RETURNED]) do
    want(returned[1], returned[3])
  end
  for _, counted in ipairs(operation[COUNTED]) do
    wanted_counts[counted[1]] = true
  end
end

local records = load_records(hold_keys)
for _, record in pairs(records) do
  for _, line in ipairs(record[LINES]) do
    want(line[1], record[CUSTOMER])
  end
end
load_rows(wanted)
for field in pairs(wanted_customers) do
  local row = rows[string.match(field, '^([^|]+)')]
  if not row or row.limit == 0 then
    wanted_customers[field] = nil
  end
end
load_customers(wanted_customers)

local texts = load_texts(text_keys)

local counts, counts_touched = {}, {}
local coupons = names_of(wanted_counts)
for i, uses in pairs(call_in_parts('HMGET', COUPONS, coupons)) do
  counts[coupons[i]] = tonumber(uses or '0')
end

local function is_changed(operation)
  for _, known in ipairs(operation[KNOWN]) do
    local text = texts[at(operation, known[1])]
    if tonumber(text and string.match(text, '^%[(%d+)') or '0') ~= known[2] then
      return true
    end
  end
  return false
end

-- Whether it is this very operation that changed the records: its caller lost the reply and asks again. A hold is made
-- by one operation alone; one that makes none is told by what it writes.
local function is_repeated(operation)
  local made = operation[MADE][1]
  if made then
    return records[at(operation, made[1])] ~= nil
  end
  local is_written = false
  for _, put in ipairs(operation[PUT]) do
    local text = texts[at(operation, put[1])]
    if text and text ~= put[4] then
      return false
    end
    is_written = is_written or text ~= nil
  end
  return is_written
end

local function dead_holds(operation)
  local dead = { 'hold-expired' }
  for _, place in ipairs(operation[SOLD]) do
    local record = records[at(operation, place)]
    if not record then
      dead[#dead + 1] = ''
    elseif record[STATUS] ~= 'held' or is_expired(record) then
      for _, line in ipairs(record[LINES]) do
        dead[#dead + 1] = line[1]
      end
    end
  end
  return #dead > 1 and dead or nil
end

-- Units of each SKU, and of each SKU and customer, that the operation gives back before it claims, once a hold.
local function given_back(operation)
  local units, seen = {}, {}
  for _, place in ipairs(operation[ENDED]) do
    local record = records[at(operation, place)]
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

-- Why the holds cannot be made, in order of precedence; nil when nothing stands against them.
local function refusal(operation)
  local own = given_back(operation)
  local claims_more = false
  local unknown, short, over = { 'unknown-sku' }, { 'insufficient-stock' }, { 'customer-limit-exceeded' }
  for _, made in ipairs(operation[MADE]) do
    local customer, sku, quantity = made[2], made[6], made[7]
    local row, field = rows[sku], sku .. '|' .. customer
    claims_more = claims_more or quantity > (own[sku] or 0)
    if not row then
      unknown[#unknown + 1] = sku
    else
      local available = row.available + (own[sku] or 0)
      if available < quantity then
        short[#short + 1] = sku
        short[#short + 1] = quantity
        short[#short + 1] = available
      end
      local has = customer == '' and 0 or (customers[field] or 0) - (own[field] or 0)
      if row.limit > 0 and has + quantity > row.limit then
        over[#over + 1] = sku
        over[#over + 1] = quantity
        over[#over + 1] = row.limit
      end
      own[sku] = (own[sku] or 0) - quantity
      own[field] = (own[field] or 0) - quantity
    end
  end
  if claims_more and backlog + #events >= HIGH_WATER then
    return { 'backlog' }
  end
  if #unknown > 1 then
    return unknown
  end
  local refused = #short > 1 and short or #over > 1 and over or nil
  return refused and operation[SWEPT] == 0 and is_anything_due() and { 'due' } or refused
end

local function spent_coupon(operation)
  for _, counted in ipairs(operation[COUNTED]) do
    if counted[2] > 0 and counted[3] > 0 and counts[counted[1]] + counted[2] > counted[3] then
      return { 'coupon-limit-reached', counted[1] }
    end
  end
  return nil
end

local ended_holds, live_holds, puts, windows = {}, {}, {}, {}

local function tell(kind, body)
  events[#events + 1] = kind
  encoded[#encoded + 1] = '["' .. kind .. '",' .. body .. ']'
end

local function end_holds(operation)
  for _, place in ipairs(operation[ENDED]) do
    local key = at(operation, place)
    local record = records[key]
    if record and record[STATUS] == 'held' then
      local is_late = is_expired(record)
      record[STATUS] = is_late and 'expired' or 'released'
      unhold(record, false)
      ended_holds[#ended_holds + 1] = { key = key, record = record }
      tell(is_late and 'expire' or 'release', cjson.encode({ last_part(key), record[LINES] }))
    end
  end
end

local function sell(operation, key, record)
  record[STATUS] = 'committed'
  unhold(record, true)
  ended_holds[#ended_holds + 1] = { key = key, record = record }
  tell('commit', cjson.encode({ last_part(key), operation[REFERENCE], record[LINES] }))
end

local function make_holds(operation)
  for _, made in ipairs(operation[MADE]) do
    local key, customer, created, expires, fingerprint = at(operation, made[1]), made[2], made[3], made[4], made[5]
    local record = { 'held', customer, created, expires, expires - created, fingerprint, { { made[6], made[7] } } }
    claim(customer, record[LINES])
    records[key] = record
    tell('reserve', cjson.encode({ last_part(key), customer, created, expires, fingerprint, record[LINES] }))
    if made[8] == 1 then
      sell(operation, key, record)
    else
      live_holds[#live_holds + 1] = { key = key, record = record }
    end
  end
end

local function take_back(operation)
  for _, returned in ipairs(operation[RETURNED]) do
    local sku, quantity, customer = returned[1], returned[2], returned[3]
    move(sku, quantity, 0, -quantity)
    if customer ~= '' and rows[sku].limit > 0 then
      count_customer(sku .. '|' .. customer, -quantity)
    end
    local body = { operation[REFERENCE], operation[REASON], customer, { { sku, quantity } } }
    tell('return', cjson.encode(body))
  end
end

local function count_coupons(operation)
  for _, counted in ipairs(operation[COUNTED]) do
    counts[counted[1]] = math.max(0, counts[counted[1]] + counted[2])
    counts_touched[counted[1]] = true
  end
end

local function put_records(operation)
  for _, put in ipairs(operation[PUT]) do
    local key, keep_ms, kind, text = at(operation, put[1]), put[2], put[3], put[4]
    texts[key] = keep_ms > 0 and text or nil
    puts[key] = { keep_ms = keep_ms, text = text }
    if kind == 'cart' or kind == 'order' then
      tell(kind, '["' .. last_part(key) .. '",' .. text .. ']')
    end
  end
  for _, window in ipairs(operation[WINDOWS]) do
    windows[#windows + 1] = window
  end
end

local function judge(operation)
  if is_changed(operation) then
    return is_repeated(operation) and { 'done' } or { 'changed' }
  end
  local refused = dead_holds(operation) or refusal(operation) or spent_coupon(operation)
  if refused then
    return refused
  end
  end_holds(operation)
  for _, place in ipairs(operation[SOLD]) do
    local key = at(operation, place)
    sell(operation, key, records[key])
  end
  make_holds(operation)
  take_back(operation)
  count_coupons(operation)
  put_records(operation)
  if operation[MEMORY] ~= cjson.null then
    remember(at(operation, operation[MEMORY][1]), operation[MEMORY][3])
  end
  return { 'done' }
end

local function replay(operation)
  return { 'replayed', memory_texts[at(operation, operation[MEMORY][1])] }
end

local answers = {}
for i, operation in ipairs(operations) do
  local memory = operation[MEMORY]
  local key = memory ~= cjson.null and at(operation, memory[1]) or nil
  answers[i] = once(operation, key, key and memory[2], judge, replay)
end

if #events > 0 then
  emit('trade', events, '[' .. table.concat(encoded, ',') .. ']')
end
if #events > 0 or #windows > 0 or #fresh_memories > 0 then
  save_rows()
  save_customers()
  save_ended(ended_holds)
  save_live(live_holds)
  for key, put in pairs(puts) do
    if put.keep_ms > 0 then
      keep(key, put.text, put.keep_ms)
    else
      redis.call('DEL', key)
    end
  end
  for field in pairs(counts_touched) do
    if counts[field] > 0 then
      redis.call('HSET', COUPONS, field, integer(counts[field]))
    else
      redis.call('HDEL', COUPONS, field)
    end
  end
  for _, window in ipairs(windows) do
    if window[2] > 0 then
      redis.call('ZADD', PAYMENTS, integer(window[2]), window[1])
    else
      redis.call('ZREM', PAYMENTS, window[1])
    end
  end
end

return finish(answers)
