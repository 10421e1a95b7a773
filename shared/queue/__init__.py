"""The job queue in Redis: Python clients for gateway and worker, record formats and Lua scripts.

Jobs, registries, executions and results have RQ 3's format in Redis. RQ's tools (`rq info`, rq-dashboard,
`rq requeue`, `rq suspend`) therefore work on a running system. RQ itself submits, claims, renews, settles and
reaps one job at a time, with many Redis commands for each job. In this package, each step is one atomic Lua
script, which handles a whole batch of jobs.
"""

INTERACTIVE, BULK = "interactive", "bulk"
QUEUES = (INTERACTIVE, BULK)
"""The names of the two RQ queues: callers wait for interactive jobs and poll bulk jobs."""
