-- What the end of a job brings with it; stands in front of the scripts that end jobs.
--
-- An end is a table:
--   status   RQ's: 'finished', 'failed' or 'canceled'      told     what callers are told: those, or 'expired'
--   result, timing, error   JSON; a missing one is 'null'   at       now, as RQ writes it
--   stream   fields of RQ's result, or nil for none         clock    now, in seconds
--   code     the failure's, or nil for none                 keep     seconds to keep all of it
--   image    true to keep the image for a requeue           cache    seconds to keep the answer for equal jobs
--
-- What can be written once for many jobs waits in `pending` until `write_pending`, the script's last step.
local end_job -- (queue, id, e)
local A_DAY = 86400
local pending = {replies = {}, ends = {}, counts = {}, gone = {}, bytes = 0}

local function seconds()
  local clock = redis.call('TIME')
  return tonumber(clock[1]) + tonumber(clock[2]) / 1e6
end

local function append(lists, name, ...)
  local list = lists[name] or {}
  lists[name] = list
  for _, each in ipairs({...}) do
    list[#list + 1] = each
  end
end

-- Run a command on a long list: Lua passes 8,000 arguments at most, and an equal job may have more followers.
local function in_parts(words, list)
  for i = 1, #list, 1000 do
    local call = {unpack(words)}
    for j = i, math.min(i + 999, #list) do
      call[#call + 1] = list[j]
    end
    redis.call(unpack(call))
  end
end

local function write_pending()
  for list, replies in pairs(pending.replies) do
    -- One message, so that who waits has all of them with one command.
    if apart(redis.call, 'RPUSH', list, '[' .. table.concat(replies, ',') .. ']') then
      redis.call('EXPIRE', list, 120)
    end
  end
  for registry, members in pairs(pending.ends) do
    in_parts({'ZADD', registry}, members)
  end
  for name, count in pairs(pending.counts) do
    redis.call('HINCRBY', 'classification:figures', name, count)
  end
  if pending.bytes > 0 then
    redis.call('DECRBY', 'classification:bytes', pending.bytes)
  end
  in_parts({'DEL'}, pending.gone)
end

-- Queue RQ's job that posts the webhook; its record was made when the job was submitted.
local function queue_webhook(id, webhook, e)
  local hook, key = cjson.decode(webhook), 'rq:job:webhook-' .. id
  local f = fields('rq:job:' .. id, 'enqueued_at', 'started_at', 'attempts')
  local times = ',"submitted_at":"' .. f[1] .. '","started_at":' .. (f[2] and f[2] ~= '' and '"' .. f[2] .. '"' or 'null')
    .. ',"ended_at":"' .. e.at .. '","attempts":' .. whole(f[3], 0)
  local body = '{"type":"job.' .. e.told .. '","timestamp":"' .. e.at .. '","data":{"id":"' .. id .. '","status":"'
    .. e.told .. '"' .. times .. ',"result":' .. e.result .. ',"error":' .. e.error .. '}}'
  redis.call('HSET', key, 'created_at', e.at, 'enqueued_at', e.at,
    'data', cjson.encode({hook['function'], cjson.null, {hook.url, id, body}, {}}), unpack(hook.record))
  redis.call('RPUSH', 'rq:queue:webhooks', 'webhook-' .. id)
  redis.call('SADD', 'rq:queues', 'rq:queue:webhooks')
end

-- The first of the jobs that waited for an equal one takes its place and its image; the others wait for it.
local function promote(leader, digest, followers)
  local heir
  for _, id in ipairs(followers) do
    local job = 'rq:job:' .. id
    local f = fields(job, 'status', 'origin')
    if f[1] == 'deferred' and heir then
      redis.call('HSET', job, 'leader', heir)
      redis.call('RPUSH', 'classification:followers:' .. heir, id)
      redis.call('EXPIRE', 'classification:followers:' .. heir, A_DAY)
    elseif f[1] == 'deferred' then
      heir = id
      redis.call('ZREM', 'rq:deferred:' .. f[2], id)
      if redis.call('EXISTS', 'image:' .. leader) == 1 then
        redis.call('RENAME', 'image:' .. leader, 'image:' .. id)
      end
      local bytes = redis.call('STRLEN', 'image:' .. id)
      redis.call('HSET', job, 'status', 'queued', 'bytes', bytes)
      redis.call('INCRBY', 'classification:bytes', bytes)
      redis.call('RPUSH', 'rq:queue:' .. f[2], id)
      redis.call('SET', 'classification:leader:' .. digest, id, 'EX', A_DAY)
      redis.call('LPUSH', 'classification:wake', 1)
    end
  end
end

-- Equal jobs that waited for this one: they end as it did, unless it was stopped for a reason of its own.
local function share(id, digest, e)
  if redis.call('GET', 'classification:leader:' .. digest) == id then
    redis.call('DEL', 'classification:leader:' .. digest)
  end
  if e.cache and e.cache > 0 and e.told == 'finished' then
    redis.call('HSET', 'classification:result:' .. digest, 'result', e.result, 'value', e.stream[4])
    redis.call('EXPIRE', 'classification:result:' .. digest, e.cache)
  end
  local followers = redis.call('LRANGE', 'classification:followers:' .. id, 0, -1)
  redis.call('DEL', 'classification:followers:' .. id)
  if e.told ~= 'finished' and e.told ~= 'failed' then
    return promote(id, digest, followers)
  end
  for _, follower in ipairs(followers) do
    local f = fields('rq:job:' .. follower, 'status', 'origin')
    if f[1] == 'deferred' and f[2] then
      redis.call('ZREM', 'rq:deferred:' .. f[2], follower)
      end_job(f[2], follower, e)
    end
  end
end

function end_job(queue, id, e)
  local job = 'rq:job:' .. id
  local f = fields(job, 'bytes', 'reply_to', 'digest', 'webhook')
  put('HSET', job, 'status', e.status, 'ended_at', e.at, 'last_heartbeat', e.at, 'bytes', 0,
    'error', e.error == 'null' and '' or e.error)
  redis.call('EXPIRE', job, e.keep)
  if e.stream then
    put('XADD', 'rq:results:' .. id, 'MAXLEN', 10, '*', unpack(e.stream))
    redis.call('EXPIRE', 'rq:results:' .. id, e.keep)
  end
  append(pending.ends, 'rq:' .. e.status .. ':' .. queue, math.floor(e.clock) + e.keep, id)
  local count = 'jobs:' .. queue .. ':' .. (e.code or '')
  pending.counts[count] = (pending.counts[count] or 0) + 1
  pending.bytes = pending.bytes + whole(f[1], 0)
  if f[3] then
    apart(share, id, f[3], e)
  end
  if e.image then
    redis.call('EXPIRE', 'image:' .. id, e.keep)
  else
    pending.gone[#pending.gone + 1] = 'image:' .. id
  end
  for list in string.gmatch(f[2] or '', '%S+') do
    append(pending.replies, list, '{"id":"' .. id .. '","result":' .. e.result .. ',"timing":' .. e.timing
      .. ',"failure":' .. e.error .. '}')
  end
  if f[4] then
    apart(queue_webhook, id, f[4], e)
  end
end
