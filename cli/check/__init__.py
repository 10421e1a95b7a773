"""`classification-server check`: checks whether a worker can serve a model with its files."""
