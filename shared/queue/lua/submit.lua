-- Submits jobs: writes RQ's record of each job and pushes the jobs' ids to RQ's queue, in one step.
-- Returns one of these tables:
--   {'accepted', number of jobs that waited before the submission, an outcome for each job}
--       For a job with a digest (its key in the result cache), the outcome is 'stored', 'collapsed' or 'hit'.
--       For a job without a digest, the outcome is ''.
--       In the mode 'each', the outcome of a refused job is the reason: 'jobs', 'bytes' or 'image'.
--   {'replayed', 0, ids of the first submission's jobs}: the same submission was accepted before
--   {'conflict', 0, {}}: the idempotency key belongs to another submission; no job was accepted
--   {reason ('jobs', 'bytes' or 'image'), number of jobs that waited, {}}: no job was accepted
-- Uses server_time, read_fields, number, write and wake_worker from records.lua, end_job and write_pending from
-- end_job.lua, and the constants IMAGE_TTL and WAKE_KEY from shared/queue/script_constants.py.
local queue = ARGV[1] -- the queue's name
local max_jobs = tonumber(ARGV[2]) -- maximum number of waiting jobs
local max_bytes = tonumber(ARGV[3]) -- maximum total size of the images of all jobs in flight, in bytes
local all_or_none = ARGV[4] == 'all' -- 'all': refuse all jobs if one job is refused; 'each': decide on each job
local repeat_key = ARGV[5] -- Redis key made from the caller's idempotency key, or ''
local repeat_hash = ARGV[6] -- hash of the submission's content
local repeat_ttl = ARGV[7] -- seconds for which the caller may repeat the submission
local keep = tonumber(ARGV[8]) -- seconds for which a job's result is kept
local at = ARGV[9] -- the current time as RQ writes it (ISO 8601)
local common_count = tonumber(ARGV[10]) -- number of arguments that follow: fields and values common to all jobs
local common_fields = {unpack(ARGV, 11, 10 + common_count)}
-- The other arguments are, for each job: id, image ('' if Redis has it already), size of the image in bytes, seconds
-- until the job's deadline or '', digest or '', number of the job's own fields and values, and these fields and values.

local list = 'rq:queue:' .. queue
local jobs, next_job = {}, 11 + common_count
while next_job <= #ARGV do
  local id, image, bytes, seconds, digest, count = unpack(ARGV, next_job, next_job + 5)
  local first, last = next_job + 6, next_job + 5 + tonumber(count)
  jobs[#jobs + 1] = {id = id, image = image, bytes = tonumber(bytes), seconds = seconds, digest = digest,
    first = first, last = last}
  next_job = last + 1
end

local function drop_images()
  for _, job in ipairs(jobs) do
    if job.image == '' then
      redis.call('DEL', 'image:' .. job.id)
    end
  end
end

-- Returns the id of the job in flight whose answer a new, equal job may wait for, or nil. An interactive job never
-- waits for a queued bulk job.
local function leader_of(digest)
  local id = redis.call('GET', 'classification:leader:' .. digest)
  local leader = id and read_fields('rq:job:' .. id, 'status', 'origin') or {}
  local is_ahead = leader.origin == queue or leader.origin == 'interactive'
  if leader.status == 'started' or (leader.status == 'queued' and is_ahead) then
    return id
  end
end

local earlier = repeat_key ~= '' and redis.call('GET', repeat_key)
local earlier_hash, ids = string.match(earlier or '', '^(%S+) (.+)$')
-- If the first submission's jobs have been deleted, the repeated submission is accepted as a new submission.
if ids and redis.call('EXISTS', 'rq:job:' .. string.match(ids, '^%S+')) == 1 then
  drop_images()
  if earlier_hash ~= repeat_hash then
    return {'conflict', 0, {}}
  end
  local replayed = {}
  for id in string.gmatch(ids, '%S+') do
    replayed[#replayed + 1] = id
  end
  return {'replayed', 0, replayed}
end

local waiting_before = redis.call('LLEN', list) + redis.call('ZCARD', 'rq:deferred:' .. queue)
local stored_bytes = number(redis.call('GET', 'classification:bytes'), 0)
local leaders, waiting, bytes = {}, waiting_before, 0

-- Decides whether a job is accepted, without writing to Redis. If the job is refused, job.refused is the reason.
local function decide(job)
  if redis.call('EXISTS', 'rq:job:' .. job.id) == 1 then -- the gateway has repeated a command whose reply was lost
    job.is_known, job.cache = true, redis.call('HGET', 'rq:job:' .. job.id, 'cache') or ''
    return
  end
  if job.digest ~= '' and redis.call('EXISTS', 'classification:result:' .. job.digest) == 1 then
    job.cache = 'hit'
    return
  end
  job.leader = job.digest ~= '' and (leaders[job.digest] or leader_of(job.digest)) or nil
  job.cache = job.leader and 'collapsed' or job.digest ~= '' and 'stored' or ''
  job.is_queued = not job.leader
  if waiting + 1 > max_jobs then
    job.refused = 'jobs'
  elseif job.is_queued and stored_bytes + bytes + job.bytes > max_bytes then
    job.refused = 'bytes'
  elseif job.is_queued and job.image == '' and redis.call('EXISTS', 'image:' .. job.id) == 0 then
    job.refused = 'image' -- the gateway could not store the image, for example because Redis' memory is full
  else
    waiting = waiting + 1
    if job.is_queued then
      leaders[job.digest], bytes = job.id, bytes + job.bytes
    end
  end
end

for _, job in ipairs(jobs) do
  decide(job)
  if job.refused and all_or_none then
    drop_images()
    return {job.refused, waiting_before, {}}
  end
end

local now = server_time()

local function enqueue(job)
  if job.image ~= '' then
    redis.call('SET', 'image:' .. job.id, job.image, 'EX', IMAGE_TTL)
  end
  redis.call('RPUSH', list, job.id)
  if job.digest ~= '' then
    redis.call('SET', 'classification:leader:' .. job.digest, job.id, 'EX', IMAGE_TTL)
  end
end

local function follow_leader(job)
  redis.call('HSET', 'rq:job:' .. job.id, 'status', 'deferred', 'leader', job.leader)
  redis.call('ZADD', 'rq:deferred:' .. queue, now, job.id)
  write('RPUSH', 'classification:followers:' .. job.leader, job.id)
  redis.call('EXPIRE', 'classification:followers:' .. job.leader, IMAGE_TTL)
  redis.call('DEL', 'image:' .. job.id)
end

local function answer_from_cache(job)
  local result, value = unpack(redis.call('HMGET', 'classification:result:' .. job.digest, 'result', 'value'))
  end_job(queue, job.id, {status = 'finished', outcome = 'finished', result = result, timing = '{}', error = 'null',
    at = at, now = now, keep = keep, stream = {'type', 1, 'return_value', value, 'worker_name', ''}})
end

local function accept(job)
  local key = 'rq:job:' .. job.id
  local deadline = job.seconds ~= '' and string.format('%.6f', now + tonumber(job.seconds)) or ''
  redis.call('HSET', key, 'submitted', string.format('%.6f', now), 'deadline', deadline, 'origin', queue,
    'created_at', at, 'enqueued_at', at, 'bytes', job.is_queued and job.bytes or 0, unpack(ARGV, job.first, job.last))
  redis.call('HSET', key, unpack(common_fields))
  if job.digest ~= '' then
    redis.call('HSET', key, 'cache', job.cache, 'digest', job.digest)
  end
  if job.cache == 'hit' then
    answer_from_cache(job)
  elseif job.leader then
    follow_leader(job)
  else
    enqueue(job)
  end
end

local outcomes, accepted = {}, {}
for i, job in ipairs(jobs) do
  if job.is_known then
    accepted[#accepted + 1] = job.id
  elseif not job.refused then
    accept(job)
    accepted[#accepted + 1] = job.id
  elseif job.image == '' then
    redis.call('DEL', 'image:' .. job.id)
  end
  outcomes[i] = job.refused or job.cache
end
if repeat_key ~= '' then
  redis.call('SET', repeat_key, repeat_hash .. ' ' .. table.concat(accepted, ' '), 'EX', repeat_ttl)
end
if bytes > 0 then
  redis.call('INCRBY', 'classification:bytes', bytes)
  redis.call('SADD', 'rq:queues', list)
  if redis.call('LLEN', WAKE_KEY) == 0 then
    wake_worker() -- one worker is enough: if its claim leaves jobs in the queue, it wakes another worker
  end
end
write_pending()
return {'accepted', waiting_before, outcomes}
