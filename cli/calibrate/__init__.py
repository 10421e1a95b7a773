"""`classification-server calibrate`: computes thresholds and a report from labelled images."""
