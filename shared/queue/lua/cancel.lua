-- Cancel a job that waits.
-- ARGV  1 job id  2 its owner  3 seconds to keep its record  4 now, as RQ writes it  5 the error as JSON
-- Answers the job's status: 'canceled' if it waited, or what it was and stays; '' where it is unknown.
local id = ARGV[1]
local f = fields('rq:job:' .. id, 'status', 'origin', 'owner', 'leader')
if (f[3] or '') ~= ARGV[2] then
  return ''
elseif f[1] == 'queued' then
  redis.call('LREM', 'rq:queue:' .. f[2], 1, id)
elseif f[1] == 'deferred' then
  redis.call('ZREM', 'rq:deferred:' .. f[2], id)
  redis.call('LREM', 'classification:followers:' .. f[4], 1, id)
else
  return f[1] or ''
end
end_job(f[2], id, {status = 'canceled', told = 'canceled', code = 'canceled', at = ARGV[4], clock = seconds(),
  result = 'null', timing = 'null', error = ARGV[5], keep = tonumber(ARGV[3])})
write_pending()
return 'canceled'
