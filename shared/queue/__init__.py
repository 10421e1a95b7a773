"""The job queue in Redis.

The package contains Python clients for gateway and worker, record formats and Lua scripts.

Jobs, registries, executions and results have RQ 3's format in Redis. RQ's tools (`rq info`, rq-dashboard,
`rq requeue`, `rq suspend`) therefore work on a running system. RQ's own code handles one job at a time, with
many Redis commands for each job. In this package, one atomic Lua script performs a step, for example
claiming jobs, for a whole batch.
"""

INTERACTIVE, BULK = "interactive", "bulk"
QUEUES = (INTERACTIVE, BULK)
"""The names of the two RQ queues.

The caller of an interactive job waits for the answer. The caller of a bulk job requests the answer later."""
