-- Moves the next jobs of one queue to a worker, under a lease. This is one step, so no job is lost if the worker dies.
-- A retried job is a job whose previous worker died; the job's image may be the cause. Other jobs are fresh jobs.
-- A batch of retried jobs contains no fresh jobs. At most MAX_RETRIED_TOGETHER jobs whose first worker died share a
-- batch. A job whose second worker died, or whose last attempt begins, runs alone.
-- Returns {outcome, queue, jobs}. Each of the jobs is {id, execution, data, seconds until the deadline or '', attempt,
-- request id, seconds waited, image or ''}. `ClaimOutcome` in shared/queue/messages.py names the outcomes:
--   'fresh'       the worker receives fresh jobs
--   'retried'     the worker receives retried jobs, and must run no other job until these jobs have ended
--   'empty'       no job, because no job waits in either queue
--   'no-room'     no job, because the next job has more inputs than the worker can accept now
--   'needs-idle'  no job, because the next job is a retried job and the worker has other jobs
--   'suspended'   no job, because an operator stopped all workers with `rq suspend`
-- Uses server_time, read_fields, number, whole, write, wake_worker and LEASE_GRACE from records.lua,
-- and the constants MAX_INTERACTIVE_TURNS and WAKE_KEY from shared/queue/script_constants.py.
local worker = ARGV[1] -- the worker's name
local token = ARGV[2] -- unique prefix for the ids of this claim's executions
local lease = tonumber(ARGV[3]) -- duration of the lease in seconds
local full_batch = tonumber(ARGV[4]) -- number of inputs in a full batch
local room = {interactive = tonumber(ARGV[5]), bulk = tonumber(ARGV[6])} -- maximum inputs to claim from each queue
local is_idle = ARGV[7] == '1' -- whether the worker has no claimed jobs
local fresh_retries = tonumber(ARGV[8]) -- value of the field `retries_left` of a fresh job
local at = ARGV[9] -- the current time as RQ writes it (ISO 8601)
local max_image_bytes = tonumber(ARGV[10]) -- maximum size of an image that is returned with its job, in bytes
local MAX_RETRIED_TOGETHER = 6 -- maximum number of retried jobs in one claim
local TURNS_TTL = 3600 -- seconds for which Redis keeps the number of consecutive interactive claims

local now = server_time()

local function runs_elsewhere(queue, id)
  for _, execution in ipairs(redis.pcall('ZRANGE', 'rq:executions:' .. id, 0, -1)) do
    local expiry = redis.call('ZSCORE', 'rq:wip:' .. queue, id .. ':' .. execution)
    if expiry and tonumber(expiry) > now then
      return true
    end
  end
  return false
end

local function read_job(queue, id)
  local record, is_malformed = read_fields('rq:job:' .. id, 'status', 'inputs', 'retries_left', 'data', 'deadline',
    'attempts', 'request_id', 'submitted', 'bytes')
  local job = {id = id, status = record.status, inputs = math.max(whole(record.inputs, 1), 1),
    data = record.data or '', deadline = number(record.deadline), attempts = whole(record.attempts, 0),
    request_id = record.request_id or '', submitted = number(record.submitted, now),
    bytes = whole(record.bytes, 0), is_malformed = is_malformed}
  job.deaths = fresh_retries - whole(record.retries_left, fresh_retries)
  -- A queue entry is stale if its job was deleted, canceled or malformed, or if the entry is a duplicate: RQ's own
  -- cleanup uses no lock, so it can queue a job twice.
  job.is_stale = job.status ~= 'queued' or (job.deaths > 0 and runs_elsewhere(queue, id))
  return job
end

local function drop_stale(queue, job)
  redis.call('LPOP', 'rq:queue:' .. queue)
  if job.status == 'canceled' then -- one of RQ's tools canceled the job without deleting its image
    redis.call('DECRBY', 'classification:bytes', job.bytes)
    redis.call('HSET', 'rq:job:' .. job.id, 'bytes', 0)
    -- Keep the image if the job has followers (equal jobs that wait for its answer): one of them inherits the image.
    if redis.call('EXISTS', 'classification:followers:' .. job.id) == 0 then
      redis.call('DEL', 'image:' .. job.id)
    end
  elseif job.is_malformed then
    redis.call('DEL', 'rq:job:' .. job.id, 'image:' .. job.id)
  end
end

-- Returns nil if a job can join the jobs picked for this claim, or the reason why it cannot:
--   'needs-idle'  the job is a retried job and the worker has other jobs
--   'separate'    the job must not share a batch with the picked jobs
--   'no-room'     the job has more inputs than the worker can still accept
local function obstacle(queue, job, picked, inputs)
  local is_last_attempt = job.deaths >= fresh_retries
  local max_retried = (job.deaths > 1 or is_last_attempt) and 1 or MAX_RETRIED_TOGETHER
  if job.deaths > 0 and not is_idle then
    return 'needs-idle'
  elseif #picked > 0 and (job.deaths ~= picked[1].deaths or (job.deaths > 0 and #picked >= max_retried)) then
    return 'separate'
  elseif inputs + job.inputs > room[queue] and (#picked > 0 or room[queue] < full_batch) then
    return 'no-room'
  end
end

-- Removes the next jobs from a queue. Returns these jobs, and the reason why the following job cannot join them.
local function pick(queue)
  local picked, inputs, reason = {}, 0, nil
  if room[queue] <= 0 and redis.call('LLEN', 'rq:queue:' .. queue) > 0 then
    reason = 'no-room'
  end
  while inputs < room[queue] do
    local id = redis.call('LINDEX', 'rq:queue:' .. queue, 0)
    if not id then
      break
    end
    local job = read_job(queue, id)
    if job.is_stale then
      drop_stale(queue, job)
    else
      reason = obstacle(queue, job, picked, inputs)
      if reason then
        break
      end
      redis.call('LPOP', 'rq:queue:' .. queue)
      picked[#picked + 1] = job
      inputs = inputs + job.inputs
    end
  end
  return picked, reason
end

-- Writes RQ's records of an attempt. Returns the attempt's entry for RQ's registry of running jobs.
local function start_attempt(job, execution)
  local member, keep = job.id .. ':' .. execution, math.ceil(lease) + LEASE_GRACE
  redis.call('HSET', 'rq:job:' .. job.id, 'status', 'started', 'started_at', at, 'last_heartbeat', at,
    'worker_name', worker, 'attempts', job.attempts + 1)
  if job.attempts > 0 then
    redis.call('PERSIST', 'rq:job:' .. job.id) -- `rq requeue` does not remove the expiry of a failed job's record
  end
  redis.call('HSET', 'rq:execution:' .. member, 'id', execution, 'job_id', job.id, 'created_at', now,
    'last_heartbeat', now, 'worker_name', worker)
  redis.call('EXPIRE', 'rq:execution:' .. member, keep)
  write('ZADD', 'rq:executions:' .. job.id, now + lease + LEASE_GRACE, execution)
  redis.call('EXPIRE', 'rq:executions:' .. job.id, keep)
  return member
end

-- Returns the job's image if it is small, otherwise ''. Workers fetch large images faster with a separate command.
local function small_image(job)
  local image = job.bytes > 0 and job.bytes <= max_image_bytes and redis.pcall('GET', 'image:' .. job.id)
  return type(image) == 'string' and image or ''
end

local function start_attempts(queue, picked)
  local claims, wip, members = {}, {}, {}
  for i, job in ipairs(picked) do
    local execution = token .. '-' .. i
    members[i] = start_attempt(job, execution)
    wip[2 * i - 1], wip[2 * i] = now + lease, members[i]
    claims[i] = {job.id, execution, job.data, job.deadline and string.format('%.6f', job.deadline - now) or '',
      job.attempts + 1, job.request_id, string.format('%.6f', now - job.submitted), small_image(job)}
  end
  redis.call('ZADD', 'rq:wip:' .. queue, unpack(wip))
  redis.call('SADD', 'rq:worker:' .. worker .. ':executions', unpack(members))
  redis.call('EXPIRE', 'rq:worker:' .. worker .. ':executions', math.ceil(lease) + LEASE_GRACE)
  return claims
end

-- Returns whether a claim of interactive jobs counts toward MAX_INTERACTIVE_TURNS. The claim counts if interactive jobs
-- are left, or if the first bulk job is a retried job. A retried job needs an idle worker, and without the count no
-- worker would become idle while interactive jobs keep arriving.
local function passes_over()
  local first = redis.call('LINDEX', 'rq:queue:bulk', 0)
  return redis.call('LLEN', 'rq:queue:interactive') > 0 or (first and read_job('bulk', first).deaths > 0)
end

-- Wakes the next worker if jobs are left in a queue. Otherwise deletes unread wake-up messages, so that no worker is
-- woken unnecessarily.
local function update_wake()
  if redis.call('LLEN', 'rq:queue:interactive') + redis.call('LLEN', 'rq:queue:bulk') == 0 then
    redis.call('DEL', WAKE_KEY)
  elseif redis.call('LLEN', WAKE_KEY) == 0 then
    wake_worker()
  end
end

if redis.call('EXISTS', 'rq:suspended') == 1 then
  return {'suspended', '', {}}
end

local order = {'interactive', 'bulk'}
local contended = redis.call('LLEN', 'rq:queue:interactive') > 0 and redis.call('LLEN', 'rq:queue:bulk') > 0
if contended and tonumber(redis.call('GET', 'classification:turns') or '0') >= MAX_INTERACTIVE_TURNS then
  order = {'bulk', 'interactive'}
end

local outcome = 'empty'
for _, queue in ipairs(order) do
  local picked, reason = pick(queue)
  if #picked > 0 then
    local claims = start_attempts(queue, picked)
    update_wake()
    if queue == 'bulk' then
      redis.call('DEL', 'classification:turns')
    elseif contended and passes_over() then
      redis.call('INCR', 'classification:turns')
      redis.call('EXPIRE', 'classification:turns', TURNS_TTL)
    end
    return {picked[1].deaths > 0 and 'retried' or 'fresh', queue, claims}
  end
  outcome = reason or outcome
  if reason == 'needs-idle' then
    break -- a worker that receives jobs of the other queue would never become idle
  end
end
return {outcome, '', {}}
