"""Code that gateway, worker and webhook sender share.

This package imports neither Flask nor TensorFlow.
"""
