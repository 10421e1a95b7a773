-- Puts claimed jobs back to the front of their queues. A job that is given back does not lose a retry.
-- Uses read_fields, whole, write, wake_worker and MAX_WAKES from records.lua,
-- and the constant WAKE_KEY from shared/queue/script_constants.py.
local worker = ARGV[1] -- the worker's name
local uncounted = 1 - tonumber(ARGV[2]) -- ARGV[2]: 1 if the worker has begun the jobs, so that the attempts count
local FIRST_CLAIM = 3 -- index of the first job in ARGV; each job is queue, job id and execution, in claim order

for i = #ARGV - 2, FIRST_CLAIM, -3 do
  local queue, id, execution = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local member = id .. ':' .. execution
  if redis.call('ZREM', 'rq:wip:' .. queue, member) == 1 then
    redis.call('DEL', 'rq:execution:' .. member)
    write('ZREM', 'rq:executions:' .. id, execution)
    redis.call('SREM', 'rq:worker:' .. worker .. ':executions', member)
    local attempts = whole(read_fields('rq:job:' .. id, 'attempts').attempts, 1)
    local key = 'rq:job:' .. id
    write('HSET', key, 'status', 'queued', 'started_at', '', 'worker_name', '', 'attempts', attempts - uncounted)
    redis.call('LPUSH', 'rq:queue:' .. queue, id)
    wake_worker()
  end
end
redis.call('LTRIM', WAKE_KEY, 0, MAX_WAKES - 1)
