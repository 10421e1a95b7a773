-- Adds a gateway process's reply list to jobs, so that this gateway process receives the jobs' replies.
-- Returns the ids of the jobs that have ended or are unknown: no reply will come for these jobs.
-- Uses read_fields from records.lua.
local reply_to = ARGV[1] -- the Redis list that receives the replies
local owner = ARGV[2] -- the caller's name; other callers' jobs count as unknown
local FIRST_ID = 3 -- index of the first job id in ARGV

local ended, unended = {}, {queued = true, deferred = true, started = true}
for i = FIRST_ID, #ARGV do
  local id = ARGV[i]
  local job = read_fields('rq:job:' .. id, 'status', 'owner', 'reply_to')
  if unended[job.status] and (job.owner or '') == owner then
    local lists = job.reply_to or ''
    if not string.find(' ' .. lists .. ' ', ' ' .. reply_to .. ' ', 1, true) then
      redis.call('HSET', 'rq:job:' .. id, 'reply_to', lists == '' and reply_to or lists .. ' ' .. reply_to)
    end
  else
    ended[#ended + 1] = id
  end
end
return ended
