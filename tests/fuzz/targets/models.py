"""A model file: the result is its description or a `ModelError` of one line."""

import io
import json
import os
import resource
import traceback
import zipfile
from pathlib import Path

import h5py

from tests.fuzz.targets.files import written
from worker.model_allowlist import ModelError, inspect_model

CONFIG = json.dumps(
    {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {"units": 2}}]}}
)


def _h5(**attributes: object) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w", libver="latest") as file:
        file.attrs.update(attributes)
        file.create_dataset("model_weights/dense/kernel", data=[1.0, 2.0])
    return out.getvalue()


def keras(config: bytes, metadata: bytes = b'{"keras_version": "3.15.1"}') -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("metadata.json", metadata)
    return out.getvalue()


SEEDS = [
    _h5(model_config=CONFIG, keras_version="2.15.0"),
    _h5(model_config=CONFIG.encode()),
    _h5(layer_names=[b"dense"]),
    keras(CONFIG.encode()),
    keras(b"[]", b"[]"),
    b"<!doctype html>",
    b"version https://git-lfs.github.com/spec/v1\n",
    b"",
]
WORDS = [
    b"\x89HDF\r\n\x1a\n",
    b"model_config",
    b"OHDR",
    b"OCHK",
    b"FRHP",
    b"GCOL",
    b"PK\x03\x04",
    b"config.json",
]


def run(data: bytes) -> None:
    path = written(data)
    if not h5py.is_hdf5(path):
        look(path)
        return
    # The HDF5 library is known to crash and to hang; worker/inspection_process.py holds that off the worker.
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
        try:
            look(path)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, (
        "the child failed, see the traceback above"
    )


def look(path: Path) -> None:
    try:
        found = inspect_model(path)
    except ModelError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert found.format in ("h5", "keras") and len(found.fingerprint) == 64
