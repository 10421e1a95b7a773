"""`classification-server classes`: class names from the files that a training leaves."""
