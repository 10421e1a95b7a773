"""The options that name a model and what belongs to it, and the settings that follow."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from cli.serve.serve_command import demo_model

OPTIONS = {
    "model": ("INFERENCE_MODEL", "the model"),
    "classes": ("INFERENCE_CLASSES_FILE", "its class names"),
    "thresholds": ("INFERENCE_THRESHOLDS_FILE", "its thresholds"),
}


def add_model_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add those of the options; each takes the place of its environment variable."""
    for name in names:
        variable, what = OPTIONS[name]
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{what} (default: {variable})")


def environ(options: argparse.Namespace) -> Mapping[str, str]:
    """The environment with the options in it; without any model, the demo model's files as in `serve`."""
    named = {
        variable: str(value)
        for name, (variable, _) in OPTIONS.items()
        if (value := getattr(options, name, None)) is not None
    }
    found = os.environ | named
    return found | demo_model(found)
