-- Move the next jobs of one queue into a worker's lease, so that no id is ever only in a worker's memory.
-- Jobs that came back from a dead worker (suspects) are never mixed with fresh ones: six together, then alone, and
-- always alone at the last attempt.
-- ARGV  1 worker's name  2 token of this claim  3 lease, seconds  4 inputs of a full batch
--       5 room for interactive inputs  6 room for bulk inputs  7 '1' where the worker holds nothing
--       8 retries_left of a fresh job  9 now, as RQ writes it  10 bytes up to which an image is answered with its job
-- Answers {why nothing was taken, or '', queue's name, {{id, execution, data, seconds left or '', attempts,
--          request id, seconds waited, image or ''}, …}}
local SUSPECTS_TOGETHER = 6
local TURNS = 8 -- claims in a row that leave interactive jobs waiting, before bulk has one

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local lease, full, idle, small = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[7] == '1', tonumber(ARGV[10])
local fresh = tonumber(ARGV[8])
local room = {interactive = tonumber(ARGV[5]), bulk = tonumber(ARGV[6])}

local function runs_elsewhere(queue, id)
  for _, execution in ipairs(redis.pcall('ZRANGE', 'rq:executions:' .. id, 0, -1)) do
    local expiry = redis.call('ZSCORE', 'rq:wip:' .. queue, id .. ':' .. execution)
    if expiry and tonumber(expiry) > now then
      return true
    end
  end
  return false
end

local function read(queue, id)
  local f, odd = fields('rq:job:' .. id, 'status', 'inputs', 'retries_left', 'data', 'deadline', 'attempts', 'request_id',
    'submitted', 'bytes')
  local job = {id = id, status = f[1], inputs = math.max(whole(f[2], 1), 1), data = f[4] or '', deadline = number(f[5]),
    attempts = whole(f[6], 0), request_id = f[7] or '', submitted = number(f[8], now), bytes = whole(f[9], 0), odd = odd}
  job.losses = fresh - whole(f[3], fresh)
  -- Gone, no record at all, cancelled, or a second copy: RQ's own cleanup takes no lock and can queue a job twice.
  job.stale = f[1] ~= 'queued' or (job.losses > 0 and runs_elsewhere(queue, id))
  return job
end

-- How many suspects may share a run with this one.
local function company(job)
  return (job.losses > 1 or job.losses >= fresh) and 1 or SUSPECTS_TOGETHER
end

local function pick(queue)
  local picked, total, why = {}, 0, ''
  if room[queue] <= 0 and redis.call('LLEN', 'rq:queue:' .. queue) > 0 then
    why = 'room'
  end
  while total < room[queue] do
    local id = redis.call('LINDEX', 'rq:queue:' .. queue, 0)
    if not id then
      break
    end
    local job = read(queue, id)
    if job.stale then
      redis.call('LPOP', 'rq:queue:' .. queue)
      if job.status == 'canceled' then -- by RQ's own tools, which know nothing of the image
        redis.call('DECRBY', 'classification:bytes', job.bytes)
        redis.call('HSET', 'rq:job:' .. id, 'bytes', 0)
        if redis.call('EXISTS', 'classification:followers:' .. id) == 0 then -- or one of them will take it over
          redis.call('DEL', 'image:' .. id)
        end
      elseif job.odd then
        redis.call('DEL', 'rq:job:' .. id, 'image:' .. id)
      end
    elseif job.losses > 0 and not idle then
      why = 'suspects'
      break
    elseif #picked > 0 and job.losses ~= picked[1].losses then
      break
    elseif #picked > 0 and job.losses > 0 and #picked >= company(job) then
      break
    elseif total + job.inputs > room[queue] and (#picked > 0 or room[queue] < full) then
      why = 'room'
      break
    else
      redis.call('LPOP', 'rq:queue:' .. queue)
      picked[#picked + 1] = job
      total = total + job.inputs
    end
  end
  return picked, why
end

local function lease_out(job, execution)
  local member, keep = job.id .. ':' .. execution, math.ceil(lease) + 60
  redis.call('HSET', 'rq:job:' .. job.id, 'status', 'started', 'started_at', ARGV[9], 'last_heartbeat', ARGV[9],
    'worker_name', ARGV[1], 'attempts', job.attempts + 1)
  if job.attempts > 0 then
    redis.call('PERSIST', 'rq:job:' .. job.id) -- after a failure that was requeued
  end
  redis.call('HSET', 'rq:execution:' .. member, 'id', execution, 'job_id', job.id, 'created_at', now,
    'last_heartbeat', now, 'worker_name', ARGV[1])
  redis.call('EXPIRE', 'rq:execution:' .. member, keep)
  put('ZADD', 'rq:executions:' .. job.id, now + lease + 60, execution)
  redis.call('EXPIRE', 'rq:executions:' .. job.id, keep)
  return member
end

-- Through a script, large images cost more than a trip of their own.
local function image_of(job)
  local image = job.bytes > 0 and job.bytes <= small and redis.pcall('GET', 'image:' .. job.id)
  return type(image) == 'string' and image or ''
end

local function lease_all(queue, picked)
  local claims, wip, members = {}, {}, {}
  for i, job in ipairs(picked) do
    local execution = ARGV[2] .. '-' .. i
    members[i] = lease_out(job, execution)
    wip[2 * i - 1], wip[2 * i] = now + lease, members[i]
    claims[i] = {job.id, execution, job.data, job.deadline and string.format('%.6f', job.deadline - now) or '',
      job.attempts + 1, job.request_id, string.format('%.6f', now - job.submitted), image_of(job)}
  end
  redis.call('ZADD', 'rq:wip:' .. queue, unpack(wip))
  redis.call('SADD', 'rq:worker:' .. ARGV[1] .. ':executions', unpack(members))
  redis.call('EXPIRE', 'rq:worker:' .. ARGV[1] .. ':executions', math.ceil(lease) + 60)
  return claims
end

-- Whether a claim of interactive jobs leaves others behind whose turn must come: interactive ones, or bulk's suspects,
-- which want an idle worker and would find none while interactive jobs keep coming.
local function passes_over()
  local first = redis.call('LINDEX', 'rq:queue:bulk', 0)
  return redis.call('LLEN', 'rq:queue:interactive') > 0 or (first and read('bulk', first).losses > 0)
end

-- A bell for the next worker if there is more to do; none that would wake it in vain.
local function ring()
  if redis.call('LLEN', 'rq:queue:interactive') + redis.call('LLEN', 'rq:queue:bulk') == 0 then
    redis.call('DEL', 'classification:wake')
  elseif redis.call('LLEN', 'classification:wake') == 0 then
    redis.call('LPUSH', 'classification:wake', 1)
  end
end

if redis.call('EXISTS', 'rq:suspended') == 1 then
  return {'suspended', '', {}}
end

local order = {'interactive', 'bulk'}
local contended = redis.call('LLEN', 'rq:queue:interactive') > 0 and redis.call('LLEN', 'rq:queue:bulk') > 0
if contended and tonumber(redis.call('GET', 'classification:turns') or '0') >= TURNS then
  order = {'bulk', 'interactive'}
end

local why = ''
for _, queue in ipairs(order) do
  local picked, reason = pick(queue)
  if #picked > 0 then
    local claims = lease_all(queue, picked)
    ring()
    if queue == 'bulk' then
      redis.call('DEL', 'classification:turns')
    elseif contended and passes_over() then
      redis.call('INCR', 'classification:turns')
      redis.call('EXPIRE', 'classification:turns', 3600)
    end
    return {picked[1].losses > 0 and 'suspects' or '', queue, claims}
  end
  if reason ~= '' then
    why = reason
  end
  if reason == 'suspects' then
    break -- jobs of the other queue would keep the worker from ever being idle
  end
end
return {why == '' and 'empty' or why, '', {}}
