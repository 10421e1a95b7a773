-- Put jobs that were claimed but not begun back where they came from; they count as never tried.
-- ARGV  1 worker's name  2... queue, job id, execution, … (in the order they were claimed)
for i = #ARGV - 2, 2, -3 do
  local queue, id, execution = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local member = id .. ':' .. execution
  if redis.call('ZREM', 'rq:wip:' .. queue, member) == 1 then
    redis.call('DEL', 'rq:execution:' .. member)
    put('ZREM', 'rq:executions:' .. id, execution)
    redis.call('SREM', 'rq:worker:' .. ARGV[1] .. ':executions', member)
    local attempts = whole(fields('rq:job:' .. id, 'attempts')[1], 1)
    put('HSET', 'rq:job:' .. id, 'status', 'queued', 'started_at', '', 'worker_name', '', 'attempts', attempts - 1)
    redis.call('LPUSH', 'rq:queue:' .. queue, id)
    redis.call('LPUSH', 'classification:wake', 1)
  end
end
redis.call('LTRIM', 'classification:wake', 0, 63)
