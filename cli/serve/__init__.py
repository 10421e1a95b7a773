"""`classification-server serve`: the whole service as one command."""
