"""The webhook sender: posts the ends of jobs to their callers' servers. Run it with `python -m webhooks`."""
