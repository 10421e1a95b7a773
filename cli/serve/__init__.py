"""`classification-server serve`: runs the whole service as one command."""
