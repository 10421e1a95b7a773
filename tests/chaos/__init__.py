"""Faults on the real service under load, and the count of what became of every job."""
