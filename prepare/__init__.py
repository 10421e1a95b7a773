"""What a model needs before it is served: class names, thresholds, and a check that all fits together."""
