-- Purpose: receive units or write them off; with create, bring a SKU into being with its first count.
-- KEYS:    prelude; base = the operation's memory
-- ARGV:    operation [base, fingerprint, sku, delta, create (0 or 1), customer limit (0: none), reason, reference or "",
--          swept: 1 once everything that was due when it first came is reclaimed]
-- Answers: ["adjusted", row] | ["replayed", row] | ["key-reused"] | ["unknown-sku", sku] | ["sku-exists", sku]
--          | ["insufficient-stock", sku, requested, available] | ["count-too-large", sku]
--          | ["due"]: it would be refused, but holds are past their deadline: expire those, then ask again with swept
-- Emits:   adjust [sku, delta, reason, reference, create, customer limit]
--
-- A row is [available, reserved, sold, received, customer limit].

local MAX_COUNT = 1e12 -- cjson writes integers exactly up to 14 digits

local wanted = {}
for _, operation in ipairs(operations) do
  wanted[operation[3]] = true
end
load_rows(wanted)

local created, events = {}, {}

local function judge(operation)
  local sku, delta, create, limit = operation[3], operation[4], operation[5] == 1, operation[6]
  local row = rows[sku]
  if create and row then
    return { 'sku-exists', sku }
  end
  if not create and not row then
    return { 'unknown-sku', sku }
  end
  row = row or { available = 0, reserved = 0, sold = 0, received = 0, limit = limit }
  if row.available + delta < 0 then
    if operation[9] == 0 and is_anything_due() then
      return { 'due' }
    end
    return { 'insufficient-stock', sku, -delta, row.available }
  end
  if row.received + delta > MAX_COUNT then
    return { 'count-too-large', sku }
  end
  rows[sku] = row
  row.received = row.received + delta
  move(sku, delta, 0, 0)
  if create then
    created[#created + 1] = 0
    created[#created + 1] = sku
  end
  events[#events + 1] = { sku, delta, operation[7], operation[8], operation[5], row.limit }
  local result = cjson.encode({ row.available, row.reserved, row.sold, row.received, row.limit })
  return { 'adjusted', result }, result
end

local function replay(_, result)
  return { 'replayed', cjson.encode(result) }
end

local answers = {}
for i, operation in ipairs(operations) do
  answers[i] = once(operation, KEYS[operation[1]], operation[2], judge, replay)
end

if #events > 0 then
  emit('adjust', events)
  save_rows()
  call_in_parts('ZADD', SKUS, created)
end

return finish(answers)
