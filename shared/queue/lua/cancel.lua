-- Cancels a waiting job. Returns the job's status: 'canceled' on success, another status if the job no longer waits, or
-- '' for an unknown job.
-- Uses server_time and read_fields from records.lua, and end_job and write_pending from end_job.lua.
local id = ARGV[1]
local owner = ARGV[2] -- the name of the caller; callers may cancel only their own jobs
local keep = tonumber(ARGV[3]) -- seconds for which the job's record is kept
local at = ARGV[4] -- the current time as RQ writes it (ISO 8601)
local failure = ARGV[5] -- the job's failure as JSON

local job = read_fields('rq:job:' .. id, 'status', 'origin', 'owner', 'leader')
if (job.owner or '') ~= owner then
  return ''
elseif job.status == 'queued' then
  redis.call('LREM', 'rq:queue:' .. job.origin, 1, id)
elseif job.status == 'deferred' then
  redis.call('ZREM', 'rq:deferred:' .. job.origin, id)
  redis.call('LREM', 'classification:followers:' .. job.leader, 1, id)
else
  return job.status or ''
end
end_job(job.origin, id, {status = 'canceled', outcome = 'canceled', code = 'canceled', at = at, now = server_time(),
  result = 'null', timing = 'null', error = failure, keep = keep})
write_pending()
return 'canceled'
