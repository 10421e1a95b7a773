-- Add what a worker has counted to the figures of all, once: what it sends again has the same number.
-- KEYS  1 the figures  2 the last number of this worker
-- ARGV  1 number, ascending from 1  2... count's name, amount, …
if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[2]) or '0') then
  redis.call('SET', KEYS[2], ARGV[1], 'EX', 86400)
  for i = 2, #ARGV, 2 do
    redis.call('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
