-- End attempts: result, state, lease, image and reply in one step, for each that still holds its job.
-- ARGV  1 worker's name  2 now, as RQ writes it  3 seconds to keep it all  4 seconds to keep answers for equal jobs
--       5 what the worker serves
--       6... for each attempt: queue, job id, execution, failure's code or '', result, timing, error (JSON, or 'null'),
--       RQ's result value, '1' to keep the image for a requeue
-- Answers for each 1, or 0 where the lease had gone to another (nothing is written then).
local FIELDS = 9
local name, at, keep, cache, serves = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] .. ':'
local now, settled, ended, members = seconds(), {}, {finished = 0, failed = 0}, {}

-- A job may have been submitted when other workers served another model: its answer is not for that one's cache.
local function may_keep(id)
  local digest = cache > 0 and fields('rq:job:' .. id, 'digest')[1]
  return digest and string.sub(digest, 1, #serves) == serves
end

local function settle(queue, id, execution, code, result, timing, failure, value, keep_image)
  local member = id .. ':' .. execution
  if redis.call('ZREM', 'rq:wip:' .. queue, member) == 0 then
    return 0
  end
  local status, field = 'finished', 'return_value'
  if code ~= '' then
    status, field = 'failed', 'exc_string'
  end
  local started = fields('rq:execution:' .. member, 'created_at')[1]
  append(pending, 'gone', 'rq:execution:' .. member, 'rq:executions:' .. id)
  members[#members + 1] = member
  ended[status] = ended[status] + 1
  end_job(queue, id, {
    status = status, told = code == 'expired' and code or status, code = code, at = at, clock = now, keep = keep,
    result = result, timing = timing, error = failure, image = keep_image == '1', cache = may_keep(id) and cache or 0,
    stream = {'type', code == '' and 1 or 2, field, value, 'worker_name', name, 'execution_id', execution,
      'execution_started_at', started or now, 'execution_ended_at', now},
  })
  return 1
end

for i = 6, #ARGV, FIELDS do
  settled[#settled + 1] = settle(unpack(ARGV, i, i + FIELDS - 1))
end
write_pending()
if #members > 0 then
  local worker = 'rq:worker:' .. name
  redis.call('SREM', worker .. ':executions', unpack(members))
  if redis.call('EXISTS', worker) == 1 then
    redis.call('HINCRBY', worker, 'successful_job_count', ended.finished)
    redis.call('HINCRBY', worker, 'failed_job_count', ended.failed)
  end
end
return settled
