"""The queue in Redis: the gateway's client, the worker's client, the wire format and the Lua scripts.

Jobs, registries, executions and results are stored as RQ 3 writes them, so `rq info`, rq-dashboard,
`rq requeue` and `rq suspend` work on a running system. RQ itself submits, claims, renews, settles and reaps
one job at a time, with many Redis commands for each job. In this package, one atomic Lua script does each of
these steps for a whole batch of jobs.
"""

INTERACTIVE, BULK = "interactive", "bulk"
QUEUES = (INTERACTIVE, BULK)
"""The names of the two RQ queues: callers wait for interactive jobs and poll bulk jobs."""
