"""The worker: claims jobs, decodes images, runs the model, decides and replies.

It imports neither Flask nor the gateway.
"""
