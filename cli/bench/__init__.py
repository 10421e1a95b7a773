"""`classification-server bench`: measures the speed of the service."""
