import logging

# The listeners of apps that tests made live on in daemon threads, and would complain on the terminal that
# their server is gone.
logging.getLogger("gateway.waiting").addHandler(logging.NullHandler())
