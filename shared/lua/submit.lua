-- Accept jobs, all or none: RQ's job hashes and the ids on RQ's list, in one step.
-- KEYS  1 list of waiting ids
-- ARGV  1 queue's name  2 most waiting jobs  3 most bytes of images  4 seconds until the caller gives up, or ''
--       5... for each job: id, bytes of its image, number of words that follow, field, value, …
-- Answers {'accepted' | 'jobs' | 'bytes' | 'image', jobs waiting before}
local jobs, bytes, at = {}, 0, 5
while at <= #ARGV do
  local job = {id = ARGV[at], bytes = tonumber(ARGV[at + 1]), first = at + 3, last = at + 2 + tonumber(ARGV[at + 2])}
  jobs[#jobs + 1] = job
  bytes, at = bytes + job.bytes, job.last + 1
end

if redis.call('EXISTS', 'rq:job:' .. jobs[1].id) == 1 then
  return {'accepted', 0} -- the client repeats a command whose answer it did not get
end
local waiting = redis.call('LLEN', KEYS[1])
local held = tonumber(redis.call('GET', 'classification:bytes') or '0')
local refusal = nil
if waiting + #jobs > tonumber(ARGV[2]) then
  refusal = 'jobs'
elseif held + bytes > tonumber(ARGV[3]) then
  refusal = 'bytes'
end
for _, job in ipairs(jobs) do
  if redis.call('EXISTS', 'image:' .. job.id) == 0 then
    refusal = refusal or 'image' -- SET failed before us, as when memory is out
  end
end
if refusal then
  for _, job in ipairs(jobs) do
    redis.call('DEL', 'image:' .. job.id)
  end
  return {refusal, waiting}
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
for _, job in ipairs(jobs) do
  local key = 'rq:job:' .. job.id
  redis.call('HSET', key, 'submitted', string.format('%.6f', now), 'bytes', job.bytes, unpack(ARGV, job.first, job.last))
  if ARGV[4] ~= '' then
    redis.call('HSET', key, 'deadline', string.format('%.6f', now + tonumber(ARGV[4])))
  end
  redis.call('RPUSH', KEYS[1], job.id)
  redis.call('LPUSH', 'classification:wake', 1)
end
redis.call('INCRBY', 'classification:bytes', bytes)
redis.call('SADD', 'rq:queues', 'rq:queue:' .. ARGV[1])
redis.call('LTRIM', 'classification:wake', 0, 63)
return {'accepted', waiting}
