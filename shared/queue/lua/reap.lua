-- Requeues jobs whose worker died: the leases of these jobs have ended. A job without attempts left fails instead.
-- Returns {{job id, 'requeued' or 'failed'}, …}.
-- Uses server_time, read_fields, whole, write, try, wake_worker and MAX_WAKES from records.lua, and end_job,
-- promote_follower and write_pending from end_job.lua, and the constant WAKE_KEY from shared/queue/script_constants.py.
local queues = KEYS -- the queues' names
local max_jobs = ARGV[1] -- maximum number of jobs that one call reaps from each queue
local keep = tonumber(ARGV[2]) -- seconds for which a failed job's records are kept
local failure = ARGV[3] -- the failure of a job without attempts left, as JSON
local exc_string = ARGV[4] -- the same failure in the form in which RQ stores it
local at = ARGV[5] -- the current time as RQ writes it (ISO 8601)
local MAX_DEFERRED = 100 -- maximum number of followers in each queue that one call checks
local MAX_FOLLOWERS = 1000 -- maximum number of followers that one call moves from an ended leader to a new leader

local now, outcomes, is_busy = server_time(), {}, false
local exhausted = {status = 'failed', outcome = 'failed', code = cjson.decode(failure).code, at = at, now = now,
  result = 'null', timing = 'null', error = failure, keep = keep, keep_image = true,
  stream = {'type', 2, 'exc_string', exc_string, 'worker_name', ''}}

-- Checks the leader of a follower. A follower is a job that waits for the answer of an equal job, its leader. If RQ's
-- tools ended the leader, or the leader's record is gone, the follower is queued.
local function free_follower(queue, id)
  local job = read_fields('rq:job:' .. id, 'status', 'leader', 'digest')
  if job.status ~= 'deferred' then
    redis.call('ZREM', 'rq:deferred:' .. queue, id)
  elseif job.leader then
    local status = read_fields('rq:job:' .. job.leader, 'status').status
    if status ~= 'queued' and status ~= 'started' then
      local followers = 'classification:followers:' .. job.leader
      promote_follower(job.leader, job.digest, {id, unpack(redis.call('LRANGE', followers, 0, MAX_FOLLOWERS - 1))})
      redis.call('DEL', followers)
    end
  end
end

-- Removes the records of a dead worker's attempt. Requeues the job at the front of its queue, or fails the job.
local function reap_attempt(queue, member)
  local id, execution = string.match(member, '^(.+):([^:]+)$')
  if not id then
    return
  end
  local key = 'rq:job:' .. id
  redis.call('DEL', 'rq:execution:' .. member)
  write('ZREM', 'rq:executions:' .. id, execution)
  local job = read_fields(key, 'status', 'retries_left', 'worker_name')
  redis.pcall('SREM', 'rq:worker:' .. (job.worker_name or '') .. ':executions', member)
  local retries_left = whole(job.retries_left, 0)
  if job.status == 'started' and retries_left > 0 then
    redis.call('HSET', key, 'status', 'queued', 'started_at', '', 'worker_name', '', 'retries_left', retries_left - 1)
    redis.call('LPUSH', 'rq:queue:' .. queue, id)
    wake_worker()
    outcomes[#outcomes + 1] = {id, 'requeued'}
  elseif job.status == 'started' then
    end_job(queue, id, exhausted)
    outcomes[#outcomes + 1] = {id, 'failed'}
  end
end

for _, queue in ipairs(queues) do
  local wip = 'rq:wip:' .. queue
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', wip, 0, now, 'LIMIT', 0, max_jobs)) do
    redis.call('ZREM', wip, member)
    try(reap_attempt, queue, member)
  end
  for _, id in ipairs(redis.call('ZRANGE', 'rq:deferred:' .. queue, 0, MAX_DEFERRED - 1)) do
    if not try(free_follower, queue, id) then
      redis.call('ZREM', 'rq:deferred:' .. queue, id)
    end
  end
  is_busy = is_busy or redis.call('ZCARD', wip) > 0 or redis.call('LLEN', 'rq:queue:' .. queue) > 0
  redis.call('ZREMRANGEBYSCORE', 'rq:finished:' .. queue, 0, now)
  redis.call('ZREMRANGEBYSCORE', 'rq:failed:' .. queue, 0, now)
  redis.call('ZREMRANGEBYSCORE', 'rq:canceled:' .. queue, 0, now)
end
write_pending()
redis.call('LTRIM', WAKE_KEY, 0, MAX_WAKES - 1)
if not is_busy then
  redis.call('DEL', 'classification:bytes', WAKE_KEY) -- the count of image bytes may still include deleted jobs
end
return outcomes
