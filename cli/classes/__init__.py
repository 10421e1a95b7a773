"""`classification-server classes`: writes class names from a pickle, a folder or a JSON file."""
