-- Reads and writes Redis records, including malformed records that another program has changed.
-- `shared.queue.lua_script` inserts this file before the text of every script except count.lua.
-- A malformed record of one job must not stop a script for the other jobs, because Redis does not undo what the script
-- wrote before its error.
-- Uses WAKE_KEY, a constant of shared/queue/script_constants.py.
local LEASE_GRACE = 60 -- seconds for which an attempt's records are kept after the end of its lease
local MAX_WAKES = 64 -- maximum length of the Redis list that wakes idle workers

-- Returns the server's time in seconds since 1970.
local function server_time()
  local clock = redis.call('TIME')
  return tonumber(clock[1]) + tonumber(clock[2]) / 1e6
end

local function is_wrong_type(answer)
  return type(answer) == 'table' and answer.err and string.find(answer.err, 'WRONGTYPE', 1, true)
end

-- Returns fields of a Redis hash as a table; an absent field has the value false.
-- If the key's value is not a hash, returns an empty table and true.
local function read_fields(key, ...)
  local values = redis.pcall('HMGET', key, ...)
  if is_wrong_type(values) then
    return {}, true
  elseif values.err then
    values = redis.call('HMGET', key, ...) -- any other error ends the script
  end
  local record = {}
  for i, name in ipairs({...}) do
    record[name] = values[i]
  end
  return record, false
end

-- Converts a text to a finite number below 2^53, or returns the default. Lua's tonumber would accept 'nan' and 'inf'.
local function number(text, default)
  local n = tonumber(text or nil)
  return n and math.abs(n) < 2 ^ 53 and n or default
end

-- Converts a text to a whole number of at least 0, or returns the default.
local function whole(text, default)
  return math.floor(math.max(number(text, default), 0))
end

-- Calls a write command for a key of one job. If the key has a value of the wrong type, this value is deleted first.
local function write(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if is_wrong_type(answer) then
    redis.call('DEL', key)
  end
  return type(answer) == 'table' and answer.err and redis.call(command, key, ...) or answer
end

-- Calls the function `step` for one job and logs any error, so that the script goes on. Returns whether the call
-- succeeded.
local function try(step, ...)
  local done, reason = pcall(step, ...)
  if not done then
    local text = tostring(type(reason) == 'table' and reason.err or reason)
    redis.log(redis.LOG_WARNING, 'malformed record skipped: ' .. text)
  end
  return done
end

-- Wakes one idle worker.
local function wake_worker()
  redis.call('LPUSH', WAKE_KEY, 1)
end
