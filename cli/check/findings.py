"""What a check finds, part by part."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from shared.image_header import ImageError
from worker.model_allowlist import ModelError


@dataclass(frozen=True)
class Finding:
    """Something found: `kind` is 'ok', 'note', 'warning' or 'fault'; `part` is what it is about."""

    part: str
    kind: str
    text: str


@dataclass
class Report:
    """What was found, in order; `facts` are figures for JSON, `advised` are settings to change."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    advised: dict[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def serves(self) -> bool:
        """Whether a worker would start."""
        return not any(each.kind == "fault" for each in self.findings)

    def add(self, part: str, kind: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(part, kind, text))

    @contextmanager
    def faults_of(self, part: str) -> Iterator[None]:
        """What can't be served within it is a fault of this part."""
        try:
            yield
        except (ModelError, ImageError) as error:
            self.add(part, "fault", str(error))


@contextmanager
def warnings_of(name: str) -> Iterator[list[str]]:
    """What a module's logger warns of meanwhile, instead of in the log."""
    told: list[str] = []
    logger = logging.getLogger(name)

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                told.append(record.getMessage())

    handler, propagates = Keep(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
