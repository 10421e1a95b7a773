"""`classification-server bench`: measurements that anyone can repeat."""
