"""`classification-server check`: whether a model and its files can be served."""
