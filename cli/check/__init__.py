"""`classification-server check`: checks whether a worker can serve a model, its classes and thresholds."""
