"""`classification-server bench`: measures the service, repeatably."""
