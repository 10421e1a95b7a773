-- Adds the counts in a worker's message to the metrics. A repeated message has the same number and is ignored.
local metrics = KEYS[1] -- Redis key of the hash with all counts
local last_number = KEYS[2] -- Redis key that stores the number of this worker's last message
local number = ARGV[1] -- the number of this message; a worker's first message has the number 1
local FIRST_COUNT = 2 -- index of the first count in ARGV; each count is two arguments: name and amount
local LAST_NUMBER_TTL = 86400 -- seconds for which Redis keeps the last message's number

if tonumber(number) > tonumber(redis.call('GET', last_number) or '0') then
  redis.call('SET', last_number, number, 'EX', LAST_NUMBER_TTL)
  for i = FIRST_COUNT, #ARGV, 2 do
    redis.call('HINCRBYFLOAT', metrics, ARGV[i], ARGV[i + 1])
  end
end
