"""Starts modules of this project in processes of their own."""

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).parent.parent


def module_command(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this project. Run it with `module_environ`."""
    return [sys.executable, "-P", "-m", name, *arguments]


def module_environ() -> dict[str, str]:
    """Return the environment for `module_command`.

    With it, the process imports this project's packages, not packages of the same name in the current folder.
    """
    return os.environ | {"PYTHONPATH": str(_ROOT)}
