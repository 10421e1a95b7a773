-- Ends attempts. For each attempt that has not lost its lease, writes the job's result and status, deletes the lease
-- and the image, and sends the reply, in one step.
-- Returns 1 for each ended attempt. For an attempt that has lost its lease, writes nothing and returns 0.
-- Uses server_time and read_fields from records.lua, and append, pending, end_job and write_pending from end_job.lua.
local worker = ARGV[1] -- the worker's name
local at = ARGV[2] -- the current time as RQ writes it (ISO 8601)
local keep = tonumber(ARGV[3]) -- seconds for which the job's records are kept
local cache_ttl = tonumber(ARGV[4]) -- seconds for which the result cache keeps an answer; 0: the cache is off
local digest_prefix = ARGV[5] .. ':' -- ARGV[5]: id of the worker's model
local FIRST_ATTEMPT, ATTEMPT_FIELDS = 6, 9 -- index of the first attempt in ARGV; an attempt has `settle`'s parameters

local now, settled, counts, members = server_time(), {}, {finished = 0, failed = 0}, {}

-- Returns whether the answer may be cached: the gateway must have expected this worker's model at the submission.
local function may_cache(id)
  local digest = cache_ttl > 0 and read_fields('rq:job:' .. id, 'digest').digest
  return digest and string.sub(digest, 1, #digest_prefix) == digest_prefix
end

-- Ends one attempt. code: the failure's code, or '' if the job succeeded. result, timing, failure: JSON texts or
-- 'null'. value: the result as RQ stores it. keep_image: '1' keeps the image, so that the job can be requeued.
local function settle(queue, id, execution, code, result, timing, failure, value, keep_image)
  local member = id .. ':' .. execution
  if redis.call('ZREM', 'rq:wip:' .. queue, member) == 0 then
    return 0
  end
  local status, value_field = 'finished', 'return_value'
  if code ~= '' then
    status, value_field = 'failed', 'exc_string'
  end
  local started = read_fields('rq:execution:' .. member, 'created_at').created_at
  append(pending, 'deleted', 'rq:execution:' .. member, 'rq:executions:' .. id)
  members[#members + 1] = member
  counts[status] = counts[status] + 1
  end_job(queue, id, {
    status = status, outcome = code == 'expired' and code or status, code = code, at = at, now = now, keep = keep,
    result = result, timing = timing, error = failure, keep_image = keep_image == '1',
    cache_ttl = may_cache(id) and cache_ttl or 0,
    stream = {'type', code == '' and 1 or 2, value_field, value, 'worker_name', worker, 'execution_id', execution,
      'execution_started_at', started or now, 'execution_ended_at', now},
  })
  return 1
end

for i = FIRST_ATTEMPT, #ARGV, ATTEMPT_FIELDS do
  settled[#settled + 1] = settle(unpack(ARGV, i, i + ATTEMPT_FIELDS - 1))
end
write_pending()
if #members > 0 then
  local key = 'rq:worker:' .. worker
  redis.call('SREM', key .. ':executions', unpack(members))
  if redis.call('EXISTS', key) == 1 then
    redis.call('HINCRBY', key, 'successful_job_count', counts.finished)
    redis.call('HINCRBY', key, 'failed_job_count', counts.failed)
  end
end
return settled
