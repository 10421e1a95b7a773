-- End one attempt: result, state, lease, image and reply in one step, if this attempt still holds the job.
-- ARGV  1 queue  2 job id  3 execution  4 worker's name  5 'finished' | 'failed'  6 error as JSON, or ''
--       7 RQ's result type  8 name of the result's field ('return_value' | 'exc_string')  9 its value, as RQ encodes it
--       10 seconds to keep it all  11 '1' to keep the image for a requeue  12 now, as RQ writes it
--       13 the reply, for those that wait
-- Answers 1, or 0 where the lease had gone to another (nothing is written then).
local queue, id, execution = ARGV[1], ARGV[2], ARGV[3]
local member, job = id .. ':' .. execution, 'rq:job:' .. id
if redis.call('ZREM', 'rq:wip:' .. queue, member) == 0 then
  return 0
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local keep, started = tonumber(ARGV[10]), redis.call('HGET', 'rq:execution:' .. member, 'created_at')

redis.call('HSET', job, 'status', ARGV[5], 'ended_at', ARGV[12], 'last_heartbeat', ARGV[12])
if ARGV[6] == '' then
  redis.call('HDEL', job, 'error')
else
  redis.call('HSET', job, 'error', ARGV[6])
end
redis.call('EXPIRE', job, keep)
redis.call('XADD', 'rq:results:' .. id, 'MAXLEN', 10, '*', 'type', ARGV[7], 'worker_name', ARGV[4], ARGV[8], ARGV[9],
  'execution_id', execution, 'execution_started_at', started or now, 'execution_ended_at', now)
redis.call('EXPIRE', 'rq:results:' .. id, keep)
redis.call('ZADD', 'rq:' .. ARGV[5] .. ':' .. queue, math.floor(now) + keep, id)

redis.call('DEL', 'rq:execution:' .. member)
redis.call('ZREM', 'rq:executions:' .. id, execution)
redis.call('SREM', 'rq:worker:' .. ARGV[4] .. ':executions', member)

redis.call('DECRBY', 'classification:bytes', redis.call('HGET', job, 'bytes') or 0)
redis.call('HSET', job, 'bytes', 0) -- a requeued job's image is not counted twice
if ARGV[11] == '1' then
  redis.call('EXPIRE', 'image:' .. id, keep)
else
  redis.call('DEL', 'image:' .. id)
end

local worker = 'rq:worker:' .. ARGV[4]
if redis.call('EXISTS', worker) == 1 then
  redis.call('HINCRBY', worker, ARGV[5] == 'finished' and 'successful_job_count' or 'failed_job_count', 1)
end
for list in string.gmatch(redis.call('HGET', job, 'reply_to') or '', '%S+') do
  redis.call('RPUSH', list, ARGV[13])
  redis.call('EXPIRE', list, 120)
end
return 1
