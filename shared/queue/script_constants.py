"""Constants that Python and the Lua scripts share.

`shared.queue.lua_script` inserts these constants before the text of each Lua script.
"""

from shared import webhook, worker_counts

IMAGE_TTL = 86_400
"""Maximum time for which Redis keeps a waiting job's image, in seconds."""

MAX_INTERACTIVE_TURNS = 8
"""Maximum number of consecutive interactive batches while bulk jobs wait."""

METRICS_KEY = "classification:figures"
WAKE_KEY = "classification:wake"
JOBS_COUNT, WEBHOOKS_QUEUE = worker_counts.JOBS, webhook.QUEUE
