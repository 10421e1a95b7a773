-- Renew the leases of all jobs that a worker holds.
-- ARGV  1 lease, seconds  2 worker's name  3... queue, job id, execution, …
-- Answers the executions that this worker no longer holds.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local lease = tonumber(ARGV[1])
local keep, lost = math.ceil(lease) + 60, {}
-- A first write that takes no memory: after it, the server lets the script go on when memory is out.
redis.call('EXPIRE', 'rq:worker:' .. ARGV[2] .. ':executions', keep)
for i = 3, #ARGV, 3 do
  local queue, id, execution = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local member = id .. ':' .. execution
  if redis.call('ZSCORE', 'rq:wip:' .. queue, member) then
    redis.call('ZADD', 'rq:wip:' .. queue, now + lease, member)
    put('HSET', 'rq:execution:' .. member, 'last_heartbeat', now)
    redis.call('EXPIRE', 'rq:execution:' .. member, keep)
    put('ZADD', 'rq:executions:' .. id, now + lease + 60, execution)
    redis.call('EXPIRE', 'rq:executions:' .. id, keep)
  else
    lost[#lost + 1] = execution
  end
end
return lost
