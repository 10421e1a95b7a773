"""`classification-server classes`: class names from what a training left."""
