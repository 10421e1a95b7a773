-- End one attempt: result, state, lease, image and reply in one step, if this attempt still holds the job.
-- ARGV  1 queue  2 job id  3 execution  4 worker's name  5 RQ's status  6 the status that callers are told
--       7 result  8 timing  9 error (JSON, or 'null')
--       10 RQ's result type  11 name of the result's field ('return_value' | 'exc_string')  12 its value, as RQ encodes it
--       13 seconds to keep it all  14 '1' to keep the image for a requeue  15 now, as RQ writes it
--       16 seconds to keep the answer for equal jobs  17 what the worker serves
-- Answers 1, or 0 where the lease had gone to another (nothing is written then).
local queue, id, execution, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local member, job, worker = id .. ':' .. execution, 'rq:job:' .. id, 'rq:worker:' .. name
if redis.call('ZREM', 'rq:wip:' .. queue, member) == 0 then
  return 0
end
local now = seconds()
local started = redis.call('HGET', 'rq:execution:' .. member, 'created_at')
redis.call('DEL', 'rq:execution:' .. member)
redis.call('ZREM', 'rq:executions:' .. id, execution)
redis.call('SREM', worker .. ':executions', member)
redis.call('HSET', job, 'last_heartbeat', ARGV[15])

-- A job may have been submitted when other workers served another model: its answer is not for that one's cache.
local digest = tonumber(ARGV[16]) > 0 and redis.call('HGET', job, 'digest')
local same = digest and string.sub(digest, 1, #ARGV[17] + 1) == ARGV[17] .. ':'

end_job(queue, id, {
  status = ARGV[5], told = ARGV[6], result = ARGV[7], timing = ARGV[8], error = ARGV[9], at = ARGV[15],
  stream = {'type', ARGV[10], ARGV[11], ARGV[12], 'worker_name', name, 'execution_id', execution,
    'execution_started_at', started or now, 'execution_ended_at', now},
  keep = tonumber(ARGV[13]), image = ARGV[14] == '1', cache = same and tonumber(ARGV[16]) or 0,
})

if redis.call('EXISTS', worker) == 1 then
  redis.call('HINCRBY', worker, ARGV[5] == 'finished' and 'successful_job_count' or 'failed_job_count', 1)
end
return 1
