-- Adds the counts in a worker's message to the metrics. A repeated message has the same number and is ignored.
local metrics = KEYS[1] -- the hash of all counts
local last_number = KEYS[2] -- key of the number of this worker's last message
local number = ARGV[1] -- the message's number; a worker's first message has the number 1
local FIRST_COUNT = 2 -- ARGV from here on: name and amount of each count
local LAST_NUMBER_TTL = 86400 -- seconds for which the last message's number is kept

if tonumber(number) > tonumber(redis.call('GET', last_number) or '0') then
  redis.call('SET', last_number, number, 'EX', LAST_NUMBER_TTL)
  for i = FIRST_COUNT, #ARGV, 2 do
    redis.call('HINCRBYFLOAT', metrics, ARGV[i], ARGV[i + 1])
  end
end
