"""The classes file: the class names in the order of the model's outputs."""

from pathlib import Path

from worker.model_allowlist import ModelError


def read_classes(path: Path) -> tuple[str, ...]:
    """Read one class name per line, in the order of the model's outputs.

    Raises:
        ModelError: the file or a line is empty, or a line repeats the class name of an earlier line.
    """
    return parse_classes(read_text(path, "INFERENCE_CLASSES_FILE"), str(path))


def parse_classes(text: str, where: str) -> tuple[str, ...]:
    """Return the class names in the text of a classes file.

    `where` is the file's name for error messages.

    Raises:
        ModelError: the file or a line is empty, or a line repeats the class name of an earlier line.
    """
    text = text.rstrip()
    names = [line.strip() for line in text.split("\n")] if text else []
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise ModelError(f"{where}, line {number}: expected a class name, got an empty line. Delete it.")
        if name in seen:
            detail = f"the class {name!r} is already on line {seen[name]}"
            raise ModelError(f"{where}, line {number}: {detail}. Rename one of the two classes.")
        seen[name] = number
    if not names:
        raise ModelError(f"{where}: expected class names, got an empty file. Write one name on each line.")
    return tuple(names)


_BINARY = (
    " A model with one output has two classes: first the class of the score 0, then that of the score 1."
)


def check_class_count(outputs: int, classes: tuple[str, ...], path: Path) -> None:
    """Check that the classes file has a class for each output of the model.

    Raises:
        ModelError: the number of classes differs from the number of outputs.
    """
    if len(classes) != outputs:
        raise ModelError(
            f"{path}: expected {outputs} classes, one for each output of the model, got {len(classes)}."
            " Use the classes file of this model." + (_BINARY if (outputs, len(classes)) == (2, 1) else "")
        )


def read_text(path: Path, setting: str) -> str:
    """Read a file of UTF-8 text.

    Raises:
        ModelError: the file can't be read. The error message begins with the file's setting (`setting`).
    """
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "expected UTF-8 text"
        raise ModelError(f"{setting}: {path} can't be read: {reason}") from None
