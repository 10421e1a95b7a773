"""`classification-server classes`: writes class names from files that a model's training has saved."""
