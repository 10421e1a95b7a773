-- Accept one job, or refuse it because the queue is full: RQ's job hash and the id on RQ's list, in one step.
-- KEYS  1 list of waiting ids  2 job hash  3 image
-- ARGV  1 job id  2 queue's name  3 most waiting jobs  4 most bytes of images  5 the image's bytes
--       6 seconds until the caller gives up, or ''  7... field, value, … of the job hash
-- Answers {'accepted' | 'jobs' | 'bytes' | 'image', jobs waiting}
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {'accepted', 0} -- the client repeats a command whose answer it did not get
end
local waiting = redis.call('LLEN', KEYS[1])
local held = tonumber(redis.call('GET', 'classification:bytes') or '0')
local refusal = nil
if waiting >= tonumber(ARGV[3]) then
  refusal = 'jobs'
elseif held + tonumber(ARGV[5]) > tonumber(ARGV[4]) then
  refusal = 'bytes'
elseif redis.call('EXISTS', KEYS[3]) == 0 then
  refusal = 'image' -- SET failed before us, as when memory is out
end
if refusal then
  redis.call('DEL', KEYS[3])
  return {refusal, waiting}
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local fields = {'submitted', string.format('%.6f', now), 'bytes', ARGV[5]}
if ARGV[6] ~= '' then
  fields[5], fields[6] = 'deadline', string.format('%.6f', now + tonumber(ARGV[6]))
end
for i = 7, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
redis.call('HSET', KEYS[2], unpack(fields))
redis.call('INCRBY', 'classification:bytes', ARGV[5])
redis.call('SADD', 'rq:queues', 'rq:queue:' .. ARGV[2])
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LPUSH', 'classification:wake', 1)
redis.call('LTRIM', 'classification:wake', 0, 63)
return {'accepted', waiting}
