-- Shared by the verbs that end or prolong holds, behind the prelude: a hold's record taken apart, judged and ended.

-- A hold is its record without TTL and FINGERPRINT, CREATED as text, and behind it its lines as JSON, its text, its key
-- and its id. It is cut out of the text, as decoding costs several times as much; only a customer with escapes needs it.
local LINES_TEXT, TEXT, KEY, ID = 8, 9, 10, 11
local HOLD_ID, lines_by_text = TAG_END + #'hold:' + 1, {}
local PLAIN = '^%["(%l+)","([^"\\]*)",(%d+),(%d+),%d+,"[^"\\]*",(%[.+%])%]$'

local function read_hold(key, text)
  local status, customer, created, expires, told = string.match(text, PLAIN)
  if not status then
    local record = cjson.decode(text)
    status, customer, created, expires = unpack(record)
    told = cjson.encode(record[LINES])
  end
  local lines = lines_by_text[told] or cjson.decode(told)
  lines_by_text[told] = lines -- many holds of a batch have the same
  return { status, customer, created, tonumber(expires), nil, nil, lines, told, text, key, string.sub(key, HOLD_ID) }
end

-- The text of a live hold's record with another status, without encoding it again.
local function with_status(text, status)
  return '["' .. status .. '"' .. string.sub(text, #'["held"' + 1)
end

local function is_expired(record)
  return record[STATUS] == 'expired' or (record[STATUS] == 'held' and now >= record[EXPIRES])
end

-- Why nothing can be done with a hold; nil for a live one.
local function not_live(record)
  if not record then
    return { 'unknown-hold' }
  end
  if is_expired(record) then
    return { 'hold-expired' }
  end
  if record[STATUS] ~= 'held' then
    return { 'hold-not-live', record[STATUS] }
  end
  return nil
end

-- Takes every unit of a hold out of `reserved`: into `sold` for a sale, otherwise back into `available`.
local function unhold(record, is_sale)
  local lines = record[LINES]
  for i = 1, #lines do
    local sku, quantity = lines[i][1], lines[i][2]
    if is_sale then
      move(sku, 0, -quantity, quantity)
    else
      move(sku, quantity, -quantity, 0)
      if record[CUSTOMER] ~= '' and rows[sku].limit > 0 then
        count_customer(sku .. '|' .. record[CUSTOMER], -quantity)
      end
    end
  end
end

-- How long the record of a hold that ended is kept: for the retention, and longer than the hold is in a bundle, so that a
-- sweep does not take it for one that got lost.
local SWEEP_GRACE_MS = 3600 * 1000
local function keep_ended_ms(expires)
  return expires > now and math.max(RETENTION_MS, expires - now + SWEEP_GRACE_MS) or RETENTION_MS
end

-- Ends a live hold; returns its record's text from now on.
local function end_hold(record, key, text, status)
  local ended_text = with_status(text, status)
  record[STATUS] = status
  unhold(record, status == 'committed')
  keep(key, ended_text, keep_ended_ms(record[EXPIRES]))
  return ended_text
end

local function save_settled()
  save_rows()
  save_customers()
end

-- The verbs on holds that were made (commit, release, extend) get flat operations: [base, width, values], each
-- beginning with its fingerprint, "" without a key. From base on there are their holds, then the memories of the keyed.

-- Those holds in their order, false where there is none; the same hold is the same table. Memories are read with them,
-- by one command: a batch has at most twice max_batch of both.
local function load_holds()
  local base, width, values = unpack(operations)
  local found, holds, by_key, count = redis.call('MGET', unpack(KEYS, base)), {}, {}, #values / width
  for i, text in ipairs(found) do
    local key = KEYS[base + i - 1]
    if i > count then
      memory_texts[key] = text
    else
      by_key[key] = by_key[key] or (text and read_hold(key, text))
      holds[i] = by_key[key]
    end
  end
  return holds
end

-- The stock rows of holds, and of those whose units may come back the counts of their customers.
local function load_stock(holds, may_come_back)
  local wanted, wanted_customers = {}, {}
  for _, lines in pairs(lines_by_text) do
    for _, line in ipairs(lines) do
      wanted[line[1]] = true
    end
  end
  for _, hold in ipairs(may_come_back and holds or {}) do
    for _, line in ipairs(hold and hold[CUSTOMER] ~= '' and hold[LINES] or {}) do
      wanted_customers[line[1] .. '|' .. hold[CUSTOMER]] = true
    end
  end
  load_rows(wanted)
  load_customers(wanted_customers)
end

local function settle(hold, status)
  hold[TEXT] = end_hold(hold, hold[KEY], hold[TEXT], status)
end

-- Answers the operations by their places, each once for its memory's key.
local function answer_once(judge, replay)
  local base, width, values = unpack(operations)
  local answers, memory = {}, base + #values / width
  for at = 1, #values, width do
    local key = nil
    if values[at] ~= '' then
      key, memory = KEYS[memory], memory + 1
    end
    answers[#answers + 1] = once(#answers + 1, key, values[at], judge, replay)
  end
  return answers
end
