"""Constants that Python and the Lua scripts share; `shared.queue.lua_script` hands them to the scripts."""

from shared.metric_names import JOBS
from shared.webhook import QUEUE

IMAGE_TTL = 86_400
"""Maximum time that an image waits for a worker, in seconds."""

MAX_INTERACTIVE_TURNS = 8
"""Maximum number of interactive batches in a row while bulk jobs wait."""

JOBS_COUNT, METRICS_KEY = JOBS, "classification:figures"
WAKE_KEY = "classification:wake"
WEBHOOKS_QUEUE = QUEUE
