-- The scripts in shared/queue/lua/ are joined as text: shared/queue/lua_script.py defines the order.
std = "lua51"
max_line_length = 120

local redis_api = {"redis", "cjson", "KEYS", "ARGV"}
local constants = {
  "IMAGE_TTL", "JOBS_COUNT", "MAX_INTERACTIVE_TURNS", "METRICS_KEY", "WAKE_KEY", "WEBHOOKS_QUEUE",
}
local records = {
  "LEASE_GRACE", "MAX_WAKES", "number", "read_fields", "server_time", "try", "wake_worker", "whole", "write",
}
local end_job = {"append", "end_job", "pending", "promote_follower", "write_pending"}

local function joined(...)
  local names = {}
  for _, list in ipairs({...}) do
    for _, name in ipairs(list) do
      names[#names + 1] = name
    end
  end
  return names
end

read_globals = redis_api
files["**/lua/*.lua"].read_globals = joined(constants, records)
for _, name in ipairs({"submit", "settle", "cancel", "reap"}) do
  files["**/lua/" .. name .. ".lua"].read_globals = end_job
end
-- These files only define what the scripts use.
files["**/lua/records.lua"].ignore = {"211"}
files["**/lua/end_job.lua"].ignore = {"211"}
