-- A plan (benchmarks/load/plan.py) as wrk sends it: wrk -t1 … -s wrk.lua URL -- FOLDER PREFIX NUMBER_WIDTH
--
-- FOLDER holds step-1, step-2 … (whole requests with their marks), `steps` (for each step the status and the id's
-- prefix of the answer that goes on), `choices` and `pool`. wrk does not say which connection an answer came on, so ids
-- wait in a queue for each step, and the step furthest on is sent first.
--
-- Prints one line of JSON when it is done. Answers are looked into only where a step follows from them.

local MARKS = { ['<key>'] = true, ['<choice>'] = true, ['<id>'] = true }

local steps = {} -- [i] = list of literal parts and marks
local step_of = {} -- status .. prefix -> step
local queues = {} -- [i] = ids for step i; those from heads[i] to tails[i] still wait
local heads, tails = {}, {}
local choices, next_choice = {}, 0
local prefix, width, number = '', 10, 0

granted = {} -- [i] = answers that went on; `done` runs in a state of its own and asks the thread for it
local thread

local function lines_of(path)
  local found = {}
  local file = io.open(path, 'rb')
  if file then
    for line in file:lines() do
      found[#found + 1] = line
    end
    file:close()
  end
  return found
end

local function parts_of(path)
  local file = assert(io.open(path, 'rb'))
  local text = file:read('*a')
  file:close()
  local parts, from = {}, 1
  while true do
    local first, last = text:find('<%l+>', from)
    while first and not MARKS[text:sub(first, last)] do
      first, last = text:find('<%l+>', last + 1)
    end
    if not first then
      parts[#parts + 1] = text:sub(from)
      return parts
    end
    parts[#parts + 1] = text:sub(from, first - 1)
    parts[#parts + 1] = text:sub(first, last)
    from = last + 1
  end
end

local function look_into(status, _, body)
  local id = body:match('"id":"([^"]+)"')
  local step = id and step_of[status .. id:match('^%l+_')]
  if step then
    granted[step] = granted[step] + 1
    if steps[step + 1] then
      tails[step + 1] = tails[step + 1] + 1
      queues[step + 1][tails[step + 1]] = id
    end
  end
end

function setup(only_one)
  thread = only_one
end

function init(arguments)
  local folder = arguments[1]
  prefix, width = arguments[2], tonumber(arguments[3])
  for i, line in ipairs(lines_of(folder .. '/steps')) do
    local status, beginning = line:match('^(%d+) (%S+)$')
    step_of[status .. beginning] = i
    steps[i] = parts_of(folder .. '/step-' .. i)
    queues[i], heads[i], tails[i], granted[i] = {}, 1, 0, 0
  end
  choices = lines_of(folder .. '/choices')
  if #steps > 1 then
    queues[2] = lines_of(folder .. '/pool')
    tails[2] = #queues[2]
    response = look_into
  end
end

local function next_step()
  for i = #steps, 2, -1 do
    local head = heads[i]
    if head <= tails[i] then
      local id = queues[i][head]
      queues[i][head] = nil
      heads[i] = head + 1
      return i, id
    end
  end
  return 1, ''
end

function request()
  local step, id = next_step()
  number = number + 1
  local key = prefix .. '-' .. string.format('%0' .. width .. 'd', number)
  local made = {}
  for i, part in ipairs(steps[step]) do
    if part == '<key>' then
      made[i] = key
    elseif part == '<id>' then
      made[i] = id
    elseif part == '<choice>' then
      made[i] = choices[next_choice % #choices + 1]
      next_choice = next_choice + 1
    else
      made[i] = part
    end
  end
  return table.concat(made)
end

function done(summary, latency)
  local errors = summary.errors
  local counts = thread:get('granted')
  if #counts == 1 then
    counts[1] = summary.requests - errors.status
  end
  local percentiles = {}
  for _, percent in ipairs({ 50, 90, 99, 99.9 }) do
    percentiles[#percentiles + 1] = string.format('[%s,%d]', percent, latency:percentile(percent))
  end
  print(string.format(
    'DONE {"us":%d,"requests":%d,"not_2xx":%d,"faults":%d,"granted":[%s],"latency_us":[%s]}',
    summary.duration, summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    table.concat(counts, ','), table.concat(percentiles, ',')
  ))
end
