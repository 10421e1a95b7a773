"""The HTTP gateway: checks uploads, submits jobs and returns answers. It never imports tensorflow."""
