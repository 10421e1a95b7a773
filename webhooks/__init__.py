"""The webhook sender: tells callers' servers of their jobs' ends. Run it with `python -m webhooks`."""
