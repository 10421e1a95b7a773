-- Cancel a job that waits.
-- ARGV  1 job id  2 seconds to keep its record  3 now, as RQ writes it  4 the error as JSON
-- Answers the job's status: 'canceled' if it waited, or what it was and stays; '' where it is unknown.
local id, job = ARGV[1], 'rq:job:' .. ARGV[1]
local f = redis.call('HMGET', job, 'status', 'origin', 'bytes', 'reply_to')
if f[1] ~= 'queued' then
  return f[1] or ''
end
redis.call('LREM', 'rq:queue:' .. f[2], 1, id)
redis.call('HSET', job, 'status', 'canceled', 'ended_at', ARGV[3], 'error', ARGV[4], 'bytes', 0)
redis.call('EXPIRE', job, ARGV[2])
redis.call('ZADD', 'rq:canceled:' .. f[2], math.floor(redis.call('TIME')[1] + ARGV[2]), id)
redis.call('DEL', 'image:' .. id)
redis.call('DECRBY', 'classification:bytes', f[3] or 0)
for list in string.gmatch(f[4] or '', '%S+') do
  redis.call('RPUSH', list, cjson.encode({id = id, failure = cjson.decode(ARGV[4])}))
  redis.call('EXPIRE', list, 120)
end
return 'canceled'
