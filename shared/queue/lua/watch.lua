-- Ask for a reply when jobs end, on behalf of requests that wait for them.
-- ARGV  1 reply list  2 the jobs' owner  3... job ids
-- Answers the ids that have ended, or are unknown: for them there will be no reply.
local ended, waits = {}, {queued = true, deferred = true, started = true}
for i = 3, #ARGV do
  local job = 'rq:job:' .. ARGV[i]
  local f = fields(job, 'status', 'owner', 'reply_to')
  if waits[f[1]] and (f[2] or '') == ARGV[2] then
    local lists = f[3] or ''
    if not string.find(' ' .. lists .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then
      redis.call('HSET', job, 'reply_to', lists == '' and ARGV[1] or lists .. ' ' .. ARGV[1])
    end
  else
    ended[#ended + 1] = ARGV[i]
  end
end
return ended
