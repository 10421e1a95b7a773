-- Ends jobs: writes results, registries and counters, sends replies and queues webhooks.
-- Also ends the followers of a job, their leader. Followers are equal jobs that wait for the leader's answer.
-- `shared.queue.lua_script` inserts this file before the text of submit.lua, settle.lua, cancel.lua and reap.lua.
-- Uses read_fields, whole, write, try and wake_worker from records.lua,
-- and the constants IMAGE_TTL, METRICS_KEY, JOBS_COUNT and WEBHOOKS_QUEUE from shared/queue/script_constants.py.
--
-- Provides end_job(queue, id, ending) and write_pending(). A script must call write_pending() after its last end_job().
-- `ending` is a table:
--   status      RQ's status: 'finished', 'failed' or 'canceled'
--   outcome     the status that callers see: RQ's status or 'expired'
--   result, timing, error   JSON texts; 'null': the job has no such value
--   stream      fields and values of RQ's result; nil: no result is written
--   code        the failure's code; nil or '': the job did not fail
--   at          the current time as RQ writes it (ISO 8601)
--   now         the time in seconds since 1970
--   keep        seconds for which the job's records are kept
--   keep_image  true: the job's image is kept too, so that the job can be requeued
--   cache_ttl   seconds for which the answer is cached for equal jobs; nil or 0: the answer is not cached
local REPLY_TTL = 120 -- seconds after which an unread reply is deleted
local MAX_RESULTS = 10 -- maximum number of entries in RQ's stream of a job's results
local MAX_ARGUMENTS = 1000 -- maximum number of list entries in one Redis command; Lua can pass at most 8,000 arguments

local end_job -- declared here because share_end calls it; defined below
-- the changes that write_pending writes
local pending = {replies = {}, registries = {}, counts = {}, deleted = {}, bytes = 0}

local function append(lists, name, ...)
  local list = lists[name] or {}
  lists[name] = list
  for _, each in ipairs({...}) do
    list[#list + 1] = each
  end
end

-- Calls a Redis command several times, each time with a part of the list: a job may have more followers than Lua can
-- pass as arguments.
local function call_in_parts(command, list)
  for i = 1, #list, MAX_ARGUMENTS do
    local call = {unpack(command)}
    for j = i, math.min(i + MAX_ARGUMENTS - 1, #list) do
      call[#call + 1] = list[j]
    end
    redis.call(unpack(call))
  end
end

-- Writes the collected changes of all ended jobs, with one command for each Redis key.
local function write_pending()
  for list, replies in pairs(pending.replies) do
    -- All replies for a gateway process are in one message, which the gateway reads with one command.
    if try(redis.call, 'RPUSH', list, '[' .. table.concat(replies, ',') .. ']') then
      redis.call('EXPIRE', list, REPLY_TTL)
    end
  end
  for registry, members in pairs(pending.registries) do
    call_in_parts({'ZADD', registry}, members)
  end
  for name, count in pairs(pending.counts) do
    redis.call('HINCRBY', METRICS_KEY, name, count)
  end
  if pending.bytes > 0 then
    redis.call('DECRBY', 'classification:bytes', pending.bytes)
  end
  call_in_parts({'DEL'}, pending.deleted)
end

-- Queues the RQ job that sends the webhook. `webhook` has the fixed fields of this RQ job, stored at submission.
local function queue_webhook(id, webhook, ending)
  local hook, key = cjson.decode(webhook), 'rq:job:webhook-' .. id
  local job = read_fields('rq:job:' .. id, 'enqueued_at', 'started_at', 'attempts')
  local started = job.started_at and job.started_at ~= '' and '"' .. job.started_at .. '"' or 'null'
  local times = ',"submitted_at":"' .. job.enqueued_at .. '","started_at":' .. started
    .. ',"ended_at":"' .. ending.at .. '","attempts":' .. whole(job.attempts, 0)
  local body = '{"type":"job.' .. ending.outcome .. '","timestamp":"' .. ending.at .. '","data":{"id":"' .. id
    .. '","status":"' .. ending.outcome .. '"' .. times .. ',"result":' .. ending.result
    .. ',"error":' .. ending.error .. '}}'
  redis.call('HSET', key, 'created_at', ending.at, 'enqueued_at', ending.at,
    'data', cjson.encode({hook['function'], cjson.null, {hook.url, id, body}, {}}), unpack(hook.record))
  redis.call('RPUSH', 'rq:queue:' .. WEBHOOKS_QUEUE, 'webhook-' .. id)
  redis.call('SADD', 'rq:queues', 'rq:queue:' .. WEBHOOKS_QUEUE)
end

-- Queues the first follower of a canceled, expired or deleted leader. The queued follower inherits the leader's
-- image and becomes the leader of the other followers.
local function promote_follower(old_leader, digest, followers)
  local leader
  for _, id in ipairs(followers) do
    local key = 'rq:job:' .. id
    local job = read_fields(key, 'status', 'origin')
    if job.status == 'deferred' and leader then
      redis.call('HSET', key, 'leader', leader)
      redis.call('RPUSH', 'classification:followers:' .. leader, id)
      redis.call('EXPIRE', 'classification:followers:' .. leader, IMAGE_TTL)
    elseif job.status == 'deferred' then
      leader = id
      redis.call('ZREM', 'rq:deferred:' .. job.origin, id)
      if redis.call('EXISTS', 'image:' .. old_leader) == 1 then
        redis.call('RENAME', 'image:' .. old_leader, 'image:' .. id)
      end
      local bytes = redis.call('STRLEN', 'image:' .. id)
      redis.call('HSET', key, 'status', 'queued', 'bytes', bytes)
      redis.call('INCRBY', 'classification:bytes', bytes)
      redis.call('RPUSH', 'rq:queue:' .. job.origin, id)
      redis.call('SET', 'classification:leader:' .. digest, id, 'EX', IMAGE_TTL)
      wake_worker()
    end
  end
end

-- Ends the followers of a finished or failed leader with the leader's result or failure. If the leader was canceled or
-- expired, its first follower is queued instead.
local function share_end(id, digest, ending)
  if redis.call('GET', 'classification:leader:' .. digest) == id then
    redis.call('DEL', 'classification:leader:' .. digest)
  end
  if ending.cache_ttl and ending.cache_ttl > 0 and ending.outcome == 'finished' then
    redis.call('HSET', 'classification:result:' .. digest, 'result', ending.result, 'value', ending.stream[4])
    redis.call('EXPIRE', 'classification:result:' .. digest, ending.cache_ttl)
  end
  local followers = redis.call('LRANGE', 'classification:followers:' .. id, 0, -1)
  redis.call('DEL', 'classification:followers:' .. id)
  if ending.outcome ~= 'finished' and ending.outcome ~= 'failed' then
    return promote_follower(id, digest, followers)
  end
  for _, follower in ipairs(followers) do
    local job = read_fields('rq:job:' .. follower, 'status', 'origin')
    if job.status == 'deferred' and job.origin then
      redis.call('ZREM', 'rq:deferred:' .. job.origin, follower)
      end_job(job.origin, follower, ending)
    end
  end
end

function end_job(queue, id, ending)
  local key = 'rq:job:' .. id
  local job = read_fields(key, 'bytes', 'reply_to', 'digest', 'webhook')
  write('HSET', key, 'status', ending.status, 'ended_at', ending.at, 'last_heartbeat', ending.at, 'bytes', 0,
    'error', ending.error == 'null' and '' or ending.error)
  redis.call('EXPIRE', key, ending.keep)
  if ending.stream then
    write('XADD', 'rq:results:' .. id, 'MAXLEN', MAX_RESULTS, '*', unpack(ending.stream))
    redis.call('EXPIRE', 'rq:results:' .. id, ending.keep)
  end
  append(pending.registries, 'rq:' .. ending.status .. ':' .. queue, math.floor(ending.now) + ending.keep, id)
  local count = JOBS_COUNT .. ':' .. queue .. ':' .. (ending.code or '')
  pending.counts[count] = (pending.counts[count] or 0) + 1
  pending.bytes = pending.bytes + whole(job.bytes, 0)
  if job.digest then
    try(share_end, id, job.digest, ending)
  end
  if ending.keep_image then
    redis.call('EXPIRE', 'image:' .. id, ending.keep)
  else
    append(pending, 'deleted', 'image:' .. id)
  end
  for list in string.gmatch(job.reply_to or '', '%S+') do
    append(pending.replies, list, '{"id":"' .. id .. '","result":' .. ending.result .. ',"timing":' .. ending.timing
      .. ',"failure":' .. ending.error .. '}')
  end
  if job.webhook then
    try(queue_webhook, id, job.webhook, ending)
  end
end
