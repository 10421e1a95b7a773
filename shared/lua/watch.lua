-- Ask for a reply when jobs end, on behalf of requests that wait for them.
-- ARGV  1 reply list  2... job ids
-- Answers the ids that have ended, or are unknown: for them there will be no reply.
local ended = {}
for i = 2, #ARGV do
  local job = 'rq:job:' .. ARGV[i]
  local status = redis.call('HGET', job, 'status')
  if status == 'queued' or status == 'started' then
    local lists = redis.call('HGET', job, 'reply_to') or ''
    if not string.find(' ' .. lists .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then
      redis.call('HSET', job, 'reply_to', lists == '' and ARGV[1] or lists .. ' ' .. ARGV[1])
    end
  else
    ended[#ended + 1] = ARGV[i]
  end
end
return ended
