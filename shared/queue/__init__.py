"""The queue in Redis: the gateway's client, the worker's client, the wire format and the Lua scripts.

Jobs, registries, executions and results are stored as RQ 3 writes them, so `rq info`, rq-dashboard,
`rq requeue` and `rq suspend` work on a running system. RQ itself submits, claims, renews, settles and reaps
one job at a time with many commands. Here one atomic Lua script does each of these steps for a whole batch.
"""

INTERACTIVE, BULK = "interactive", "bulk"
QUEUES = (INTERACTIVE, BULK)
"""RQ's names of the two queues: callers wait for interactive jobs and poll for bulk jobs."""
