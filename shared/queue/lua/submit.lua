-- Accept jobs: RQ's job hashes and the ids on RQ's list, in one step.
-- ARGV  1 queue's name  2 most waiting jobs  3 most bytes of images  4 'all' for all or none, 'each' for each by itself
--       5 key under which the submission is repeatable, or ''  6 hash of what was submitted  7 seconds to keep that
--       8 seconds to keep a result  9 now, as RQ writes it  10 number of words that follow: field, value, … of every job
--       then for each job: id, its image, or '' where that is stored already, bytes of its image,
--       seconds until the caller gives up, or '', digest or '', number of words that follow: field, value, …
-- Answers {'accepted', jobs waiting before, outcomes}; an outcome is '', or with a digest 'stored', 'collapsed' or 'hit';
--           or why this one of 'each' was refused: 'jobs', 'bytes', 'image'
--         {'replayed', 0, {ids of the first submission}}
--         {'conflict' | 'jobs' | 'bytes' | 'image', jobs waiting before, {}}: nothing was accepted
local queue, list, all = ARGV[1], 'rq:queue:' .. ARGV[1], ARGV[4] == 'all'
local shared_words = {unpack(ARGV, 11, 10 + tonumber(ARGV[10]))}
local jobs, at = {}, 11 + #shared_words
while at <= #ARGV do
  local job = {id = ARGV[at], image = ARGV[at + 1], bytes = tonumber(ARGV[at + 2]), seconds = ARGV[at + 3],
    digest = ARGV[at + 4], first = at + 6, last = at + 5 + tonumber(ARGV[at + 5])}
  jobs[#jobs + 1] = job
  at = job.last + 1
end

local function drop_images()
  for _, job in ipairs(jobs) do
    if job.image == '' then
      redis.call('DEL', 'image:' .. job.id)
    end
  end
end

-- The job in flight that an equal one may wait for. A caller that waits never waits for one in bulk's line.
local function leader_of(digest)
  local id = redis.call('GET', 'classification:leader:' .. digest)
  local f = id and fields('rq:job:' .. id, 'status', 'origin') or {}
  if f[1] == 'started' or (f[1] == 'queued' and (f[2] == queue or f[2] == 'interactive')) then
    return id
  end
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

local before_us = redis.call('LLEN', list) + redis.call('ZCARD', 'rq:deferred:' .. queue)
local most_jobs, most_bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
local held = number(redis.call('GET', 'classification:bytes'), 0)
local leads, waiting, bytes = {}, before_us, 0

-- What becomes of a job: nothing is written yet. Also sets `refused`, the reason if it can't be taken.
local function judge(job)
  if redis.call('EXISTS', 'rq:job:' .. job.id) == 1 then -- the client repeats a command whose answer it did not get
    job.known, job.cache = true, redis.call('HGET', 'rq:job:' .. job.id, 'cache') or ''
    return
  end
  if job.digest ~= '' and redis.call('EXISTS', 'classification:result:' .. job.digest) == 1 then
    job.cache = 'hit'
    return
  end
  job.leader = job.digest ~= '' and (leads[job.digest] or leader_of(job.digest)) or nil
  job.cache = job.leader and 'collapsed' or job.digest ~= '' and 'stored' or ''
  job.queued = not job.leader
  if waiting + 1 > most_jobs then
    job.refused = 'jobs'
  elseif job.queued and held + bytes + job.bytes > most_bytes then
    job.refused = 'bytes'
  elseif job.queued and job.image == '' and redis.call('EXISTS', 'image:' .. job.id) == 0 then
    job.refused = 'image' -- SET failed before us, as when memory is out
  else
    waiting = waiting + 1
    if job.queued then
      leads[job.digest], bytes = job.id, bytes + job.bytes
    end
  end
end

for _, job in ipairs(jobs) do
  judge(job)
  if job.refused and all then
    drop_images()
    return {job.refused, before_us, {}}
  end
end

local now = seconds()

local function wait_in_line(job)
  if job.image ~= '' then
    redis.call('SET', 'image:' .. job.id, job.image, 'EX', A_DAY)
  end
  redis.call('RPUSH', list, job.id)
  if job.digest ~= '' then
    redis.call('SET', 'classification:leader:' .. job.digest, job.id, 'EX', A_DAY)
  end
end

local function wait_for_leader(job)
  redis.call('HSET', 'rq:job:' .. job.id, 'status', 'deferred', 'leader', job.leader)
  redis.call('ZADD', 'rq:deferred:' .. queue, now, job.id)
  put('RPUSH', 'classification:followers:' .. job.leader, job.id)
  redis.call('EXPIRE', 'classification:followers:' .. job.leader, A_DAY)
  redis.call('DEL', 'image:' .. job.id)
end

local function answer_from_cache(job)
  local f = redis.call('HMGET', 'classification:result:' .. job.digest, 'result', 'value')
  end_job(queue, job.id, {status = 'finished', told = 'finished', result = f[1], timing = '{}', error = 'null',
    at = ARGV[9], clock = now, keep = tonumber(ARGV[8]), stream = {'type', 1, 'return_value', f[2], 'worker_name', ''}})
end

local function accept(job)
  local key, words = 'rq:job:' .. job.id, {unpack(ARGV, job.first, job.last)}
  local deadline = job.seconds ~= '' and string.format('%.6f', now + tonumber(job.seconds)) or ''
  redis.call('HSET', key, 'submitted', string.format('%.6f', now), 'deadline', deadline, 'origin', queue,
    'created_at', ARGV[9], 'enqueued_at', ARGV[9], 'bytes', job.queued and job.bytes or 0, unpack(words))
  redis.call('HSET', key, unpack(shared_words))
  if job.digest ~= '' then
    redis.call('HSET', key, 'cache', job.cache, 'digest', job.digest)
  end
  if job.cache == 'hit' then
    answer_from_cache(job)
  elseif job.leader then
    wait_for_leader(job)
  else
    wait_in_line(job)
  end
end

local outcomes, accepted = {}, {}
for i, job in ipairs(jobs) do
  if job.known then
    accepted[#accepted + 1] = job.id
  elseif not job.refused then
    accept(job)
    accepted[#accepted + 1] = job.id
  elseif job.image == '' then
    redis.call('DEL', 'image:' .. job.id)
  end
  outcomes[i] = job.refused or job.cache
end
if ARGV[5] ~= '' then
  redis.call('SET', ARGV[5], ARGV[6] .. ' ' .. table.concat(accepted, ' '), 'EX', ARGV[7])
end
if bytes > 0 then
  redis.call('INCRBY', 'classification:bytes', bytes)
  redis.call('SADD', 'rq:queues', list)
  if redis.call('LLEN', 'classification:wake') == 0 then
    redis.call('LPUSH', 'classification:wake', 1) -- a claim that leaves something rings again
  end
end
write_pending()
return {'accepted', before_us, outcomes}
