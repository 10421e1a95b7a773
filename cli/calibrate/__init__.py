"""`classification-server calibrate`: thresholds and a report from labelled images."""
