-- Accept jobs, all or none: RQ's job hashes and the ids on RQ's list, in one step.
-- ARGV  1 queue's name  2 most waiting jobs  3 most bytes of images  4 seconds until the caller gives up, or ''
--       5 key under which the submission is repeatable, or ''  6 hash of what was submitted  7 seconds to keep that
--       8 seconds to keep a result  9 now, as RQ writes it
--       10... for each job: id, bytes of its image, digest or '', number of words that follow, field, value, …
-- Answers {'accepted', jobs waiting before, {for each job: '', or with a digest 'stored' | 'collapsed' | 'hit'}}
--         {'replayed', 0, {ids of the first submission}}
--         {'conflict' | 'jobs' | 'bytes' | 'image', jobs waiting before, {}}: nothing was accepted
local queue, list = ARGV[1], 'rq:queue:' .. ARGV[1]
local jobs, at = {}, 10
while at <= #ARGV do
  local job = {id = ARGV[at], bytes = tonumber(ARGV[at + 1]), digest = ARGV[at + 2], first = at + 4,
    last = at + 3 + tonumber(ARGV[at + 3])}
  jobs[#jobs + 1] = job
  at = job.last + 1
end

local function drop_images()
  for _, job in ipairs(jobs) do
    redis.call('DEL', 'image:' .. job.id)
  end
end

-- The job in flight that an equal one may wait for. A caller that waits never waits for one in bulk's line.
local function leader_of(digest)
  local id = redis.call('GET', 'classification:leader:' .. digest)
  local f = id and redis.call('HMGET', 'rq:job:' .. id, 'status', 'origin') or {}
  if f[1] == 'started' or (f[1] == 'queued' and (f[2] == queue or f[2] == 'interactive')) then
    return id
  end
end

if redis.call('EXISTS', 'rq:job:' .. jobs[1].id) == 1 then -- the client repeats a command whose answer it did not get
  local outcomes = {}
  for i, job in ipairs(jobs) do
    outcomes[i] = redis.call('HGET', 'rq:job:' .. job.id, 'cache') or ''
  end
  return {'accepted', 0, outcomes}
end
local before = ARGV[5] ~= '' and redis.call('GET', ARGV[5])
local hash, ids = string.match(before or '', '^(%S+) (.+)$')
if ids and redis.call('EXISTS', 'rq:job:' .. string.match(ids, '^%S+')) == 1 then -- or they are gone: a new submission
  drop_images()
  if hash ~= ARGV[6] then
    return {'conflict', 0, {}}
  end
  local found = {}
  for id in string.gmatch(ids, '%S+') do
    found[#found + 1] = id
  end
  return {'replayed', 0, found}
end

local leads, wait, bytes, refusal = {}, 0, 0, nil
for _, job in ipairs(jobs) do
  if job.digest ~= '' and redis.call('EXISTS', 'classification:result:' .. job.digest) == 1 then
    job.cache = 'hit'
  else
    wait = wait + 1
    job.leader = job.digest ~= '' and (leads[job.digest] or leader_of(job.digest)) or nil
    if job.leader then
      job.cache = 'collapsed'
    else
      job.cache = job.digest ~= '' and 'stored' or ''
      leads[job.digest], job.queued = job.id, true
      bytes = bytes + job.bytes
      if redis.call('EXISTS', 'image:' .. job.id) == 0 then
        refusal = 'image' -- SET failed before us, as when memory is out
      end
    end
  end
end
local waiting = redis.call('LLEN', list) + redis.call('ZCARD', 'rq:deferred:' .. queue)
if wait > 0 and waiting + wait > tonumber(ARGV[2]) then
  refusal = 'jobs'
elseif bytes > 0 and tonumber(redis.call('GET', 'classification:bytes') or '0') + bytes > tonumber(ARGV[3]) then
  refusal = 'bytes'
end
if refusal then
  drop_images()
  return {refusal, waiting, {}}
end

local now = seconds()

local function wait_in_line(job)
  redis.call('RPUSH', list, job.id)
  if job.digest ~= '' then
    redis.call('SET', 'classification:leader:' .. job.digest, job.id, 'EX', A_DAY)
  end
end

local function wait_for_leader(job, key)
  redis.call('HSET', key, 'status', 'deferred', 'leader', job.leader)
  redis.call('ZADD', 'rq:deferred:' .. queue, now, job.id)
  redis.call('RPUSH', 'classification:followers:' .. job.leader, job.id)
  redis.call('EXPIRE', 'classification:followers:' .. job.leader, A_DAY)
  redis.call('DEL', 'image:' .. job.id)
end

local function answer_from_cache(job)
  local f = redis.call('HMGET', 'classification:result:' .. job.digest, 'result', 'value')
  end_job(queue, job.id, {status = 'finished', told = 'finished', result = f[1], timing = '{}', error = 'null',
    at = ARGV[9], clock = now, keep = tonumber(ARGV[8]), stream = {'type', 1, 'return_value', f[2], 'worker_name', ''}})
end

local deadline = ARGV[4] ~= '' and string.format('%.6f', now + tonumber(ARGV[4])) or ''
local outcomes, accepted = {}, {}
for i, job in ipairs(jobs) do
  local key = 'rq:job:' .. job.id
  redis.call('HSET', key, 'submitted', string.format('%.6f', now), 'deadline', deadline,
    'bytes', job.queued and job.bytes or 0, unpack(ARGV, job.first, job.last))
  if job.digest ~= '' then
    redis.call('HSET', key, 'cache', job.cache, 'digest', job.digest)
  end
  if job.cache == 'hit' then
    answer_from_cache(job)
  elseif job.leader then
    wait_for_leader(job, key)
  else
    wait_in_line(job)
  end
  outcomes[i], accepted[i] = job.cache, job.id
end
if ARGV[5] ~= '' then
  redis.call('SET', ARGV[5], ARGV[6] .. ' ' .. table.concat(accepted, ' '), 'EX', ARGV[7])
end
if bytes > 0 then
  redis.call('INCRBY', 'classification:bytes', bytes)
end
redis.call('SADD', 'rq:queues', 'rq:queue:' .. queue)
if wait > 0 and redis.call('LLEN', 'classification:wake') < 64 then
  redis.call('LPUSH', 'classification:wake', 1)
end
write_pending()
return {'accepted', waiting, outcomes}
