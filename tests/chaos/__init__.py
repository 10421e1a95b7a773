"""Causes faults in the real service under load and counts how every job ended."""
