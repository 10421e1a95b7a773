-- Reading and writing records that another may have written: one that is odd must stand in nobody else's way, for
-- what a script has written before it fails stays written. Stands in front of the other scripts.

local function is_of_another_type(answer)
  return type(answer) == 'table' and answer.err and string.find(answer.err, 'WRONGTYPE', 1, true)
end

-- The fields of a hash; none where something else stands there, which is told by the second value.
local function fields(key, ...)
  local found = redis.pcall('HMGET', key, ...)
  if is_of_another_type(found) then
    return {}, true
  end
  return found.err and redis.call('HMGET', key, ...) or found, false -- what else may be wrong is told
end

-- A number that can be counted with, or `otherwise`: Lua reads 'nan' and 'inf' as numbers, too.
local function number(text, otherwise)
  local n = tonumber(text or nil)
  return n and math.abs(n) < 2 ^ 53 and n or otherwise
end

local function whole(text, otherwise)
  return math.floor(math.max(number(text, otherwise), 0))
end

-- Write to a key that is one job's alone; what stands there in another form gives way.
local function put(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if is_of_another_type(answer) then
    redis.call('DEL', key)
  end
  return type(answer) == 'table' and answer.err and redis.call(command, key, ...) or answer
end

-- Take a step for one job; if it fails, it fails alone. Answers whether it was done.
local function apart(step, ...)
  local done, why = pcall(step, ...)
  if not done then
    redis.log(redis.LOG_WARNING, 'a job is odd: ' .. tostring(type(why) == 'table' and why.err or why))
  end
  return done
end
