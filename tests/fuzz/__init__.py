"""Fuzzes every parser of external data; each parser has a harness. See `python -m tests.fuzz --help`."""
