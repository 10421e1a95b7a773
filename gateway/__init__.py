"""HTTP in, HTTP out: check uploads, queue them, wait for answers. Never tensorflow, numpy or worker."""
