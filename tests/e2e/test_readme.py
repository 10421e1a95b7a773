"""The requests of both READMEs, run as they stand there, give the answers that stand there."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack

EXAMPLES = {
    readme: re.findall(r"^    \$ (curl .+)\n    (.+)$", (ROOT / readme).read_text(), re.M)
    for readme in ("README.md", "README.es.md")
}
JOB_ID = re.compile(r"\b[0-9a-f]{32}\b")
TIME = re.compile(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"')


@pytest.mark.parametrize("readme", EXAMPLES)
def test_the_readmes_requests_give_their_answers(stack: Stack, readme: str) -> None:
    assert len(EXAMPLES[readme]) == 8
    forget_keys(stack)
    names: dict[str, str] = {}
    for command, answer in EXAMPLES[readme]:
        for told, found in names.items():
            command = command.replace(told, found)
        shell = command.replace("http://localhost:8001", stack.url).replace("curl", "curl -sS", 1)
        done = subprocess.run(
            shell, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
        )
        names |= zip(JOB_ID.findall(answer), JOB_ID.findall(done.stdout), strict=False)
        for told, found in names.items():
            answer = answer.replace(told, found)
        told, found = (TIME.sub('"a time"', text) for text in (answer, done.stdout))
        assert near(json.loads(found), json.loads(told)), done.stdout


def forget_keys(stack: Stack) -> None:
    """The other README's requests, sent before, have the same Idempotency-Key."""
    for key in stack.valkey.client.scan_iter("classification:idempotency:*"):
        stack.valkey.client.delete(key)


def near(found: object, told: object) -> bool:
    """Equal, numbers up to a difference of 1e-4: processors add up in different orders."""
    if isinstance(told, dict) and isinstance(found, dict):
        return near(list(found.values()), list(told.values())) and sorted(found)[:1] == sorted(told)[:1]
    if isinstance(told, list) and isinstance(found, list):
        return len(found) == len(told) and all(map(near, found, told))
    if isinstance(told, float) and isinstance(found, float):
        return abs(found - told) <= 1e-4
    return found == told


def test_every_path_that_the_docs_link_to_exists() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        links = re.findall(r"""\]\(([^)#:]+)\)|\bsrc(?:set)?="([^":]+)\"""", page.read_text())
        for link in map("".join, links):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("readme", EXAMPLES)
def test_the_first_screen_has_a_picture_of_the_page(readme: str) -> None:
    first_screen = (ROOT / readme).read_text()[:900]
    assert re.search(r"""(?:\]\(|src=")docs/pictures/page(?:-es)?\.png""", first_screen)


def test_both_readmes_have_the_same_parts() -> None:
    sections = [re.findall(r"^## ", (ROOT / readme).read_text(), re.M) for readme in EXAMPLES]
    assert len(sections[0]) == len(sections[1])
    assert [c for c, _ in EXAMPLES["README.md"]] == [c for c, _ in EXAMPLES["README.es.md"]]
    assert Path(ROOT / "README.md").read_text().index("make serve") < 600
