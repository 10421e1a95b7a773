"""The HTTP gateway: checks uploads, submits jobs and returns answers.

The gateway never imports TensorFlow.
"""
