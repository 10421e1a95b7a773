"""The command-line options that name a model's files.

Each option overrides an environment variable.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from cli.serve.serve_command import demo_model

OPTIONS = {
    "model": ("INFERENCE_MODEL", "model file"),
    "classes": ("INFERENCE_CLASSES_FILE", "file with the class names"),
    "thresholds": ("INFERENCE_THRESHOLDS_FILE", "file with the classes' thresholds"),
}


def add_model_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add the options with these names. Each option overrides an environment variable."""
    for name in names:
        variable, what = OPTIONS[name]
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="FILE",
            help=f"{what} (default: the environment variable {variable})",
        )


def environ(options: argparse.Namespace) -> Mapping[str, str]:
    """Return the environment variables with the options' values.

    If no model is set, the function adds the demo model.
    """
    named = {
        variable: str(value)
        for name, (variable, _) in OPTIONS.items()
        if (value := getattr(options, name, None)) is not None
    }
    found = os.environ | named
    return found | demo_model(found)
