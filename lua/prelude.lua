-- Shared by every verb: the batch, the clock, the fence, stock rows and the event log.
--
-- KEYS[1] meta       hash     epoch, seq (events made), flushed (events applied in PostgreSQL)
-- KEYS[2] stock      hash     sku -> [available, reserved, sold, received, customer_limit (0: none)]
-- KEYS[3] deadlines  zset     bundle -> expires_at in ms: the ids of holds that end together, joined by commas
-- KEYS[4] customers  hash     sku|customer -> units held and sold, for SKUs with a customer_limit
-- KEYS[5] events     stream   <epoch>-<seq of the entry's last event>
-- KEYS[6] skus       zset     every SKU, for listing in order
-- KEYS[7] orphans    set      hold ids whose deadline passed while their record was gone
-- KEYS[8] coupons    hash     coupon, or coupon|customer -> orders that it is counted for
-- KEYS[9] payments   zset     order whose payment is not settled -> end of its payment window in ms
-- KEYS[10…]                   the keys of the operations, found through a base index
--
-- ARGV[1] JSON [epoch, retention_ms, high_water_events, operations], these as the verb says
--
-- Answers now_ms, and in the order of the operations: how many of them in a row are answered alike, the number of that
-- answer's parts, and those: a status first. It is flat because the server sets 16 KiB aside for every array within an
-- answer. "fenced" in place of the answers means that this caller's epoch is not the log's: nothing was read as true and
-- nothing was changed.
--
-- A script has no rollback, so every verb judges first and writes last, and its first write is the event: if that is
-- refused (no memory, a repeated sequence), nothing has changed.

local META, STOCK, DEADLINES, CUSTOMERS, EVENTS, SKUS, ORPHANS, COUPONS, PAYMENTS =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]

local MAX_ARGS = 4000 -- Lua's unpack is bounded at about 8,000 values

-- A live hold's record outlives its deadline by this and the retention, so that its units can be given back by it even
-- when no worker ran for weeks. Once it ended, the record lives for the retention.
local LIVE_GRACE_MS = 30 * 24 * 3600 * 1000

local batch = cjson.decode(ARGV[1])
local EPOCH, RETENTION_MS, HIGH_WATER, operations = batch[1], batch[2], batch[3], batch[4]

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local meta = redis.call('HMGET', META, 'epoch', 'seq', 'flushed')
if tonumber(meta[1] or '-1') ~= EPOCH then
  return { now, 'fenced' }
end
local seq = tonumber(meta[2])
local backlog = seq - tonumber(meta[3])

local function integer(value)
  return string.format('%d', value)
end

-- Calls a command with any number of trailing arguments, a bounded part at a time; collects array answers.
local function call_in_parts(command, key, arguments)
  local answers = {}
  for first = 1, #arguments, MAX_ARGS do
    local last = math.min(first + MAX_ARGS - 1, #arguments)
    local part = redis.call(command, key, unpack(arguments, first, last))
    if type(part) == 'table' then
      for i = 1, last - first + 1 do
        answers[first + i - 1] = part[i]
      end
    end
  end
  return answers
end

-- Texts to keep, by the ms for which: key, text, key, text, … They are written at the end.
local kept = {}

local function keep(key, text, for_ms)
  local texts = kept[for_ms] or {}
  kept[for_ms] = texts
  texts[#texts + 1], texts[#texts + 2] = key, text
end

-- Where one command can set many keys (Valkey 9.1, Redis 8.4) a key costs half as much.
local CAN_SET_MANY = (redis.VALKEY_VERSION_NUM or 0) >= 0x00090100
  or (not redis.VALKEY_VERSION_NUM and (redis.REDIS_VERSION_NUM or 0) >= 0x00080400)

-- False where nothing was set, as when the user may not call that command.
local function set_many(texts, first, last, ttl)
  local command = { 'MSETEX', (last - first + 1) / 2, unpack(texts, first, last) }
  command[#command + 1], command[#command + 2] = 'PX', ttl
  return redis.pcall(unpack(command)) == 1
end

local function save_kept()
  for for_ms, texts in pairs(kept) do
    local ttl = integer(for_ms)
    for first = 1, #texts, MAX_ARGS do
      local last = math.min(first + MAX_ARGS - 1, #texts)
      if not (CAN_SET_MANY and set_many(texts, first, last, ttl)) then
        for i = first, last, 2 do
          redis.call('SET', texts[i], texts[i + 1], 'PX', ttl)
        end
      end
    end
  end
end

-- The end of every verb: writes what is to be kept, and says what was answered.
local function finish(answers)
  save_kept()
  local parts, count, first = { now }, 1, 1
  while first <= #answers do
    local answer, last = answers[first], first
    while answers[last + 1] == answer do
      last = last + 1
    end
    parts[count + 1] = last - first + 1
    parts[count + 2] = #answer
    count = count + 2
    for part = 1, #answer do
      count = count + 1
      parts[count] = answer[part]
    end
    first = last + 1
  end
  return parts
end

-- Stock rows of this batch: read once, judged and summed in memory, written once.
local rows, touched = {}, {}

local function names_of(set)
  local names = {}
  for name in pairs(set) do
    names[#names + 1] = name
  end
  return names
end

local function load_rows(wanted)
  local skus = names_of(wanted)
  local values = call_in_parts('HMGET', STOCK, skus)
  for i, sku in ipairs(skus) do
    if values[i] then
      local row = cjson.decode(values[i])
      rows[sku] = { available = row[1], reserved = row[2], sold = row[3], received = row[4], limit = row[5] }
    end
  end
end

local function move(sku, available, reserved, sold)
  local row = rows[sku]
  row.available = row.available + available
  row.reserved = row.reserved + reserved
  row.sold = row.sold + sold
  touched[sku] = true
end

local function save_rows()
  local flat = {}
  for sku in pairs(touched) do
    local row = rows[sku]
    flat[#flat + 1] = sku
    flat[#flat + 1] =
      string.format('[%d,%d,%d,%d,%d]', row.available, row.reserved, row.sold, row.received, row.limit)
  end
  call_in_parts('HSET', STOCK, flat)
end

-- Units held and sold to one customer, for SKUs with a limit: the same read-once, write-once.
local customers, customers_touched = {}, {}

local function load_customers(wanted)
  local fields = names_of(wanted)
  local values = call_in_parts('HMGET', CUSTOMERS, fields)
  for i, field in ipairs(fields) do
    customers[field] = tonumber(values[i] or '0')
  end
end

local function count_customer(field, units)
  customers[field] = customers[field] + units
  customers_touched[field] = true
end

local function save_customers()
  local flat, gone = {}, {}
  for field in pairs(customers_touched) do
    if customers[field] > 0 then
      flat[#flat + 1], flat[#flat + 2] = field, integer(customers[field])
    else
      gone[#gone + 1] = field
    end
  end
  call_in_parts('HSET', CUSTOMERS, flat)
  call_in_parts('HDEL', CUSTOMERS, gone)
end

-- Hold records: [status, customer or "", created ms, expires ms, first ttl ms, fingerprint, [[sku, quantity]…]]
local STATUS, CUSTOMER, CREATED, EXPIRES, FINGERPRINT, LINES = 1, 2, 3, 4, 6, 7

-- The id in a key, which is "<tag>:<what it is>:<id>".
local TAG_END = #META - #'meta'
local function last_part(key)
  return string.sub(key, string.find(key, ':', TAG_END + 1, true) + 1)
end

-- What is under these keys, by key; a bounded part at a time.
local function load_texts(keys)
  local texts = {}
  for first = 1, #keys, MAX_ARGS do
    local part = redis.call('MGET', unpack(keys, first, math.min(first + MAX_ARGS - 1, #keys)))
    for i, text in ipairs(part) do
      texts[keys[first + i - 1]] = text or nil
    end
  end
  return texts
end

-- Holds that a batch lets live until the same ms are one member of the deadlines, a bundle: a hold by itself there costs a
-- tenth of what its reserve does. One that ends or is extended before stays in it until the bundle is swept (expire.lua).
local MAX_BUNDLE = 100
local ids_until = {} -- by deadline, as text

local function live_until(id, expires)
  local ids = ids_until[expires] or {}
  ids_until[expires] = ids
  ids[#ids + 1] = id
end

local function save_deadlines()
  local flat = {}
  for expires, ids in pairs(ids_until) do
    for first = 1, #ids, MAX_BUNDLE do
      flat[#flat + 1] = expires
      flat[#flat + 1] = table.concat(ids, ',', first, math.min(first + MAX_BUNDLE - 1, #ids))
    end
  end
  call_in_parts('ZADD', DEADLINES, flat)
end

local anything_due = nil
local function is_anything_due()
  if anything_due == nil then
    anything_due = #redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now, 'LIMIT', 0, 1) > 0
  end
  return anything_due
end

-- The memory of keyed operations: key -> [fingerprint, what the answer is made of]. A refusal is never remembered. Of one
-- that is known not to be there the text is false.
local memory_texts, fresh_memories = {}, {}

local function recall(key)
  if memory_texts[key] == nil then
    memory_texts[key] = redis.call('GET', key)
  end
  return memory_texts[key] and cjson.decode(memory_texts[key])
end

-- Keeps a memory, told as JSON.
local function remember(key, text)
  memory_texts[key] = text
  fresh_memories[#fresh_memories + 1] = key
  keep(key, text, RETENTION_MS)
end

-- Judges an operation once for its memory's key; without a key (nil) every time. `judge` answers and, for what
-- succeeded, tells as JSON what to remember; `replay` makes the first answer again from that. A fingerprint is
-- hexadecimal, so quotes make it JSON.
local function once(operation, key, fingerprint, judge, replay)
  local memory = key and recall(key)
  if memory then
    return memory[1] == fingerprint and replay(operation, memory[2]) or { 'key-reused' }
  end
  local answer, result = judge(operation)
  if key and result ~= nil then
    remember(key, '["' .. fingerprint .. '",' .. result .. ']')
  end
  return answer
end

-- One entry for all the events of a batch; its id is the sequence of the last one. The memories made with them travel
-- along, so that asking twice is still asking once after Redis was rebuilt. `encoded` are the events as JSON, for who
-- has them so.
local function emit(kind, events, encoded)
  local last = seq + #events
  local entry = { 'kind', kind, 'at', integer(now), 'n', #events, 'events', encoded or cjson.encode(events) }
  if #fresh_memories > 0 then
    local travelling = {}
    for i, key in ipairs(fresh_memories) do
      travelling[i] = '["' .. last_part(key) .. '",' .. cjson.encode(memory_texts[key]) .. ']'
    end
    entry[9], entry[10] = 'memories', '[' .. table.concat(travelling, ',') .. ']'
  end
  redis.call('XADD', EVENTS, integer(EPOCH) .. '-' .. integer(last), unpack(entry))
  redis.call('HSET', META, 'seq', integer(last))
end
