"""The webhook sender: reports each job's end to the caller's server. Run it with `python -m webhooks`."""
