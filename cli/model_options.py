"""The options that name a model's files, and the settings that they set."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from cli.serve.serve_command import demo_model

OPTIONS = {
    "model": ("INFERENCE_MODEL", "the model"),
    "classes": ("INFERENCE_CLASSES_FILE", "the model's class names"),
    "thresholds": ("INFERENCE_THRESHOLDS_FILE", "the thresholds of its classes"),
}


def add_model_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add these options, each of which overrides an environment variable."""
    for name in names:
        variable, what = OPTIONS[name]
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{what} (default: {variable})")


def environ(options: argparse.Namespace) -> Mapping[str, str]:
    """Return the environment with the options in it, or with the demo model where no model is named."""
    named = {
        variable: str(value)
        for name, (variable, _) in OPTIONS.items()
        if (value := getattr(options, name, None)) is not None
    }
    found = os.environ | named
    return found | demo_model(found)
