"""`classification-server classes FILE`: class names from what a training left behind."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cli import CommandError, echo

if TYPE_CHECKING:
    from cli.classes.class_names import Found

HELP = "write classes.txt from a pickled label binarizer, a folder of images or a JSON index"
DESCRIPTION = """\
Writes the class names, one a line in the order of the model's outputs, as INFERENCE_CLASSES_FILE is read.
FILE is one of these:

  a pickle or joblib file   a LabelBinarizer, LabelEncoder or MultiLabelBinarizer of scikit-learn, or a
                            list of names. It is read, not unpickled: nothing in it is run, and one
                            that holds more than names is refused
  a folder                  a folder for each class, as Keras' image_dataset_from_directory takes them
  a JSON file               ["a", "b"], {"a": 0, "b": 1} (class_indices) or {"0": "a", "1": "b"}

With --model, or INFERENCE_MODEL, the names are counted against the model's outputs.

  classification-server classes labels.pickle --model model.h5 -o classes.txt
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `classes`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what to read the names from")
    parser.add_argument(
        *("--output", "-o"), type=Path, metavar="FILE", help="write there (default: print them)"
    )
    parser.add_argument("--force", action="store_true", help="replace the output if it is there")
    parser.add_argument("--model", type=Path, metavar="FILE", help="the model that they must fit")
    parser.add_argument("--quiet", action="store_true", help="say nothing but faults")


def run(options: argparse.Namespace) -> int:
    """Write the names; return the exit status, 1 where they don't fit the model.

    Raises:
        CommandError: there are no names to be had from the file, or the output can't be written.
    """
    from cli.classes.class_names import NamesError, find

    try:
        found = find(options.file)
    except NamesError as error:
        raise CommandError(str(error)) from None
    if not options.quiet:
        echo(f"{len(found.names)} classes from {found.source}")
        for note in found.notes:
            echo(f"note: {note}")
    model = options.model or Path(os.environ.get("INFERENCE_MODEL", "").strip())
    if model != Path() and not _fits(found, model, options.quiet):
        return 1
    _write(found, options)
    return 0


def _fits(found: "Found", model: Path, quiet: bool) -> bool:
    from cli.check.model_outputs import count_outputs
    from worker.model_allowlist import ModelError

    try:
        outputs = count_outputs(model)
    except ModelError as error:
        raise CommandError(str(error)) from None
    if outputs not in (None, len(found.names)):
        echo(f"the model has {outputs} outputs, and there are {len(found.names)} names; nothing was written")
        return False
    if not quiet:
        unknown = f"note: {model} does not say how many outputs it has"
        echo(unknown if outputs is None else f"the model has as many outputs: {outputs}")
    return True


def _write(found: "Found", options: argparse.Namespace) -> None:
    text = "\n".join(found.names) + "\n"
    if options.output is None:
        print(text, end="")
        return
    try:
        with options.output.open("w" if options.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"{options.output} is there already; --force replaces it") from None
    except OSError as error:
        raise CommandError(f"{options.output} can't be written: {error.strerror}") from None
