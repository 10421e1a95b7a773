"""The requests in both READMEs and docs/http.md return the answers that are printed below them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack

READMES = ("README.md", "README.es.md")
EXAMPLES = {
    page: re.findall(r"^    \$ (curl .+)\n    (.+)$", (ROOT / page).read_text(), re.M)
    for page in (*READMES, "docs/http.md")
}
JOB_ID = re.compile(r"\b[0-9a-f]{32}\b")
TIME = re.compile(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"')


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_documented_requests_return_their_answers(stack: Stack, page: str) -> None:
    assert len(EXAMPLES[page]) == (2 if page in READMES else 8)
    names: dict[str, str] = {}
    for command, answer in EXAMPLES[page]:
        for printed, found in names.items():
            command = command.replace(printed, found)
        shell = command.replace("http://localhost:8001", stack.url).replace("curl", "curl -sS", 1)
        done = subprocess.run(
            shell, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
        )
        names |= zip(JOB_ID.findall(answer), JOB_ID.findall(done.stdout), strict=False)
        for printed, found in names.items():
            answer = answer.replace(printed, found)
        printed, found = (TIME.sub('"a time"', text) for text in (answer, done.stdout))
        assert near(json.loads(found), json.loads(printed)), done.stdout


def near(found: object, printed: object) -> bool:
    """Whether both are equal, numbers within 1e-4: processors add in different orders."""
    if isinstance(printed, dict) and isinstance(found, dict):
        return near([*found.values()], [*printed.values()]) and sorted(found)[:1] == sorted(printed)[:1]
    if isinstance(printed, list) and isinstance(found, list):
        return len(found) == len(printed) and all(map(near, found, printed))
    if isinstance(printed, float) and isinstance(found, float):
        return abs(found - printed) <= 1e-4
    return found == printed


def test_every_path_that_the_docs_link_to_exists() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        links = re.findall(r"""\]\(([^)#:]+)(?:#[^)]*)?\)|\bsrc(?:set)?="([^":]+)\"""", page.read_text())
        for link in map("".join, links):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("readme", READMES)
def test_the_first_screen_has_a_picture_of_the_page(readme: str) -> None:
    first_screen = (ROOT / readme).read_text()[:900]
    assert re.search(r"""(?:\]\(|src=")docs/pictures/page(?:-es)?\.png""", first_screen)


def test_both_readmes_have_the_same_parts() -> None:
    sections = [re.findall(r"^## ", (ROOT / readme).read_text(), re.M) for readme in READMES]
    assert len(sections[0]) == len(sections[1])
    assert [c for c, _ in EXAMPLES["README.md"]] == [c for c, _ in EXAMPLES["README.es.md"]]
    text = Path(ROOT / "README.md").read_text()
    assert text.index("make serve") < 600 and len(text.split()) <= 900
