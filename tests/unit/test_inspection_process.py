"""The inspection of a model file in a process of its own. These tests do not import TensorFlow."""

from pathlib import Path

import pytest

import demo
from worker.inspection_process import inspect_in_subprocess
from worker.model_allowlist import ModelError, inspect_model

ENDLESS = Path(__file__).parent.parent / "fuzz" / "found" / "models-endless.h5"


def test_it_returns_the_facts_of_inspect_model() -> None:
    assert inspect_in_subprocess(demo.MODEL) == inspect_model(demo.MODEL)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04"])
def test_it_refuses_files_as_inspect_model_does(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.h5").write_bytes(content)
    with pytest.raises(ModelError) as apart:
        inspect_in_subprocess(tmp_path / "model.h5")
    with pytest.raises(ModelError) as here:
        inspect_model(tmp_path / "model.h5")
    assert str(apart.value) == str(here.value)


def test_a_file_whose_reading_does_not_end_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"models-endless\.h5 can't be read: reading the file takes too long"
    ):
        inspect_in_subprocess(ENDLESS, seconds=1)


def wrapped(tag: int, content: bytes) -> bytes:
    """Return a protobuf field with a content of less than 2**28 bytes."""
    size = len(content)
    return bytes([tag, size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21]) + content


def test_a_saved_model_of_millions_of_operations_is_refused(tmp_path: Path) -> None:
    meta_graph = wrapped(0x12, b"\x0a\x00" * 10_000_000)
    (tmp_path / "saved_model.pb").write_bytes(wrapped(0x12, meta_graph))
    with pytest.raises(ModelError, match="can't be read: reading the file takes too long"):
        inspect_in_subprocess(tmp_path, seconds=1)


def test_packages_of_the_current_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert inspect_in_subprocess(demo.MODEL).format == "h5"
