"""Shared by gateway, worker and webhook sender: settings, jobs, the queue. Neither Flask nor TensorFlow."""
