-- Renews the leases of a worker's jobs.
-- Returns the ids of the executions that have lost their lease.
-- Uses server_time, write and LEASE_GRACE from records.lua.
local lease = tonumber(ARGV[1]) -- duration of the lease in seconds
local worker = ARGV[2] -- the worker's name
local FIRST_CLAIM = 3 -- index of the first job in ARGV; each job is queue, job id and execution

local now = server_time()
local keep, lost = math.ceil(lease) + LEASE_GRACE, {}
-- The script's first write command is EXPIRE, which needs no memory. After a first successful write, Redis lets a
-- script finish even if Redis' memory is full.
redis.call('EXPIRE', 'rq:worker:' .. worker .. ':executions', keep)
for i = FIRST_CLAIM, #ARGV, 3 do
  local queue, id, execution = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local member = id .. ':' .. execution
  if redis.call('ZSCORE', 'rq:wip:' .. queue, member) then
    redis.call('ZADD', 'rq:wip:' .. queue, now + lease, member)
    write('HSET', 'rq:execution:' .. member, 'last_heartbeat', now)
    redis.call('EXPIRE', 'rq:execution:' .. member, keep)
    write('ZADD', 'rq:executions:' .. id, now + lease + LEASE_GRACE, execution)
    redis.call('EXPIRE', 'rq:executions:' .. id, keep)
  else
    lost[#lost + 1] = execution
  end
end
return lost
