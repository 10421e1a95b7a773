"""What gateway and worker must agree on: settings, the job's form, the queue. No flask, no tensorflow."""
