-- Give the jobs of dead workers (lease over) to the others, or fail those that were tried often enough.
-- KEYS  the queues' names
-- ARGV  1 most jobs in one call  2 seconds to keep a failure  3 the error as JSON
--       4 the same as RQ's exc_string  5 now, as RQ writes it
-- Answers {{id, 'again' | 'failed'}, …}
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local keep, outcome, busy = tonumber(ARGV[2]), {}, false

local function fail(queue, id, job)
  redis.call('HSET', job, 'status', 'failed', 'ended_at', ARGV[5], 'error', ARGV[3])
  redis.call('EXPIRE', job, keep)
  redis.call('XADD', 'rq:results:' .. id, 'MAXLEN', 10, '*', 'type', 2, 'worker_name', '', 'exc_string', ARGV[4])
  redis.call('EXPIRE', 'rq:results:' .. id, keep)
  redis.call('ZADD', 'rq:failed:' .. queue, math.floor(now) + keep, id)
  redis.call('DECRBY', 'classification:bytes', redis.call('HGET', job, 'bytes') or 0)
  redis.call('HSET', job, 'bytes', 0)
  redis.call('EXPIRE', 'image:' .. id, keep)
  for list in string.gmatch(redis.call('HGET', job, 'reply_to') or '', '%S+') do
    redis.call('RPUSH', list, cjson.encode({id = id, failure = cjson.decode(ARGV[3])}))
    redis.call('EXPIRE', list, 120)
  end
end

for _, queue in ipairs(KEYS) do
  local wip = 'rq:wip:' .. queue
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', wip, 0, now, 'LIMIT', 0, ARGV[1])) do
    local id, execution = string.match(member, '^(.-):(.+)$')
    local job = 'rq:job:' .. id
    redis.call('ZREM', wip, member)
    redis.call('DEL', 'rq:execution:' .. member)
    redis.call('ZREM', 'rq:executions:' .. id, execution)
    local f = redis.call('HMGET', job, 'status', 'retries_left', 'worker_name')
    redis.call('SREM', 'rq:worker:' .. (f[3] or '') .. ':executions', member)
    if f[1] == 'started' then
      if tonumber(f[2] or 0) > 0 then
        redis.call('HINCRBY', job, 'retries_left', -1)
        redis.call('HSET', job, 'status', 'queued', 'started_at', '', 'worker_name', '')
        redis.call('LPUSH', 'rq:queue:' .. queue, id)
        redis.call('LPUSH', 'classification:wake', 1)
        outcome[#outcome + 1] = {id, 'again'}
      else
        fail(queue, id, job)
        outcome[#outcome + 1] = {id, 'failed'}
      end
    end
  end
  busy = busy or redis.call('ZCARD', wip) > 0 or redis.call('LLEN', 'rq:queue:' .. queue) > 0
  redis.call('ZREMRANGEBYSCORE', 'rq:finished:' .. queue, 0, now)
  redis.call('ZREMRANGEBYSCORE', 'rq:failed:' .. queue, 0, now)
  redis.call('ZREMRANGEBYSCORE', 'rq:canceled:' .. queue, 0, now)
end
redis.call('LTRIM', 'classification:wake', 0, 63)
if not busy then
  redis.call('DEL', 'classification:bytes', 'classification:wake') -- jobs deleted by hand left their bytes counted
end
return outcome
