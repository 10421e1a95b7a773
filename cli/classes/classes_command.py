"""`classification-server classes FILE`: writes class names from a pickle, a folder or a JSON file."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cli import CommandError, echo

if TYPE_CHECKING:
    from cli.classes.ordered_names import ClassNames

HELP = "write classes.txt from a pickled label binarizer, a folder of images or a JSON index"
DESCRIPTION = """\
Writes the class names for INFERENCE_CLASSES_FILE, one per line in the order of the model's outputs.
FILE is one of these:

  a pickle or joblib file   a LabelBinarizer, LabelEncoder or MultiLabelBinarizer of scikit-learn, or a
                            list of names. No code in the file is run. A file with other objects
                            is refused
  a folder                  a subfolder for each class, as for Keras' image_dataset_from_directory
  a JSON file               ["a", "b"], {"a": 0, "b": 1} (class_indices) or {"0": "a", "1": "b"}.
                            A list or dict as Python prints it is read too

With --model, or INFERENCE_MODEL, the number of names must match the number of the model's outputs.

  classification-server classes labels.pickle --model model.h5 -o classes.txt
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `classes`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="pickle, folder or JSON file with the names")
    parser.add_argument(
        *("--output", "-o"), type=Path, metavar="FILE", help="file for the names (default: standard output)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing output file")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="model whose number of outputs must match the number of names",
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def run(options: argparse.Namespace) -> int:
    """Write the names; return the exit status.

    The exit status is 1 if the number of names differs from the number of the model's outputs.

    Raises:
        CommandError: the file contains no usable names, or the output can't be written.
    """
    from cli.classes.class_names import read_class_names
    from cli.classes.ordered_names import NamesError

    try:
        found = read_class_names(options.file)
    except NamesError as error:
        raise CommandError(str(error)) from None
    if not options.quiet:
        echo(f"{len(found.names)} classes from {found.source}")
        for note in found.notes:
            echo(f"note: {note}")
    model = options.model or Path(os.environ.get("INFERENCE_MODEL", "").strip())
    if model != Path() and not _match(found, model, options.quiet):
        return 1
    _write(found, options)
    return 0


def _match(found: "ClassNames", model: Path, quiet: bool) -> bool:
    from cli.check.model_outputs import count_outputs
    from worker.model_allowlist import ModelError

    try:
        outputs = count_outputs(model)
    except ModelError as error:
        raise CommandError(str(error)) from None
    count = len(found.names)
    if outputs not in (None, count):
        echo(f"{model}: expected {count} outputs for {count} names, got {outputs}. Nothing was written.")
        return False
    if not quiet:
        unknown = f"note: {model} does not specify its number of outputs"
        echo(unknown if outputs is None else f"the model has as many outputs as there are names: {outputs}")
    return True


def _write(found: "ClassNames", options: argparse.Namespace) -> None:
    text = "\n".join(found.names) + "\n"
    if options.output is None:
        print(text, end="")
        return
    try:
        with options.output.open("w" if options.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"--output: {options.output} exists. Add --force to replace the file.") from None
    except OSError as error:
        raise CommandError(f"--output: cannot write {options.output}: {error.strerror}.") from None
