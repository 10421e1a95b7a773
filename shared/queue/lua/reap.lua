-- Give the jobs of dead workers (lease over) to the others, or fail those that were tried often enough.
-- KEYS  the queues' names
-- ARGV  1 most jobs in one call  2 seconds to keep a failure  3 the error as JSON
--       4 the same as RQ's exc_string  5 now, as RQ writes it
-- Answers {{id, 'again' | 'failed'}, …}
local now, outcome, busy = seconds(), {}, false
local given_up = {status = 'failed', told = 'failed', code = cjson.decode(ARGV[3]).code, at = ARGV[5], clock = now,
  result = 'null', timing = 'null', error = ARGV[3], keep = tonumber(ARGV[2]), image = true,
  stream = {'type', 2, 'exc_string', ARGV[4], 'worker_name', ''}}

-- Jobs that wait for an equal one which is gone, by RQ's own tools or a lost key, go on by themselves.
local function free_stranded(queue, id)
  local f = fields('rq:job:' .. id, 'status', 'leader', 'digest')
  if f[1] ~= 'deferred' then
    redis.call('ZREM', 'rq:deferred:' .. queue, id)
  elseif f[2] then
    local status = fields('rq:job:' .. f[2], 'status')[1]
    if status ~= 'queued' and status ~= 'started' then
      promote(f[2], f[3], {id, unpack(redis.call('LRANGE', 'classification:followers:' .. f[2], 0, 999))})
      redis.call('DEL', 'classification:followers:' .. f[2])
    end
  end
end

-- What an attempt leaves whose worker is dead: its job is put first in the line, or fails.
local function pass_on(queue, member)
  local id, execution = string.match(member, '^(.+):([^:]+)$')
  if not id then
    return
  end
  local job = 'rq:job:' .. id
  redis.call('DEL', 'rq:execution:' .. member)
  put('ZREM', 'rq:executions:' .. id, execution)
  local f = fields(job, 'status', 'retries_left', 'worker_name')
  redis.pcall('SREM', 'rq:worker:' .. (f[3] or '') .. ':executions', member)
  local left = whole(f[2], 0)
  if f[1] == 'started' and left > 0 then
    redis.call('HSET', job, 'status', 'queued', 'started_at', '', 'worker_name', '', 'retries_left', left - 1)
    redis.call('LPUSH', 'rq:queue:' .. queue, id)
    redis.call('LPUSH', 'classification:wake', 1)
    outcome[#outcome + 1] = {id, 'again'}
  elseif f[1] == 'started' then
    end_job(queue, id, given_up)
    outcome[#outcome + 1] = {id, 'failed'}
  end
end

for _, queue in ipairs(KEYS) do
  local wip = 'rq:wip:' .. queue
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', wip, 0, now, 'LIMIT', 0, ARGV[1])) do
    redis.call('ZREM', wip, member)
    apart(pass_on, queue, member)
  end
  for _, id in ipairs(redis.call('ZRANGE', 'rq:deferred:' .. queue, 0, 99)) do
    if not apart(free_stranded, queue, id) then
      redis.call('ZREM', 'rq:deferred:' .. queue, id)
    end
  end
  busy = busy or redis.call('ZCARD', wip) > 0 or redis.call('LLEN', 'rq:queue:' .. queue) > 0
  redis.call('ZREMRANGEBYSCORE', 'rq:finished:' .. queue, 0, now)
  redis.call('ZREMRANGEBYSCORE', 'rq:failed:' .. queue, 0, now)
  redis.call('ZREMRANGEBYSCORE', 'rq:canceled:' .. queue, 0, now)
end
write_pending()
redis.call('LTRIM', 'classification:wake', 0, 63)
if not busy then
  redis.call('DEL', 'classification:bytes', 'classification:wake') -- jobs deleted by hand left their bytes counted
end
return outcome
