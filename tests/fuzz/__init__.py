"""Fuzzing: every parser that takes bytes from outside, a harness each. `python -m tests.fuzz --help`."""
