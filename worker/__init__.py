"""The worker: claims jobs, decodes images, runs the model, applies the thresholds and sends replies.

The worker imports neither Flask nor the gateway.
"""
