"""The findings of the `check` command, each about one part of the service's configuration."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from shared.image_header import ImageError
from worker.model_allowlist import ModelError
from worker.text_file import Remark


@dataclass(frozen=True)
class Finding:
    """A finding about one part of the service's configuration, such as the model.

    The `kind` of a finding is 'ok', 'note', 'warning' or 'fault'.
    """

    part: str
    kind: str
    text: str


@dataclass
class Report:
    """The findings, the values for the JSON output (`facts`), and the settings to change (`advised`)."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    advised: dict[str, str] = field(default_factory=dict)
    command: str = ""
    differs: bool = False
    """Whether the comparison with the user's own images or scores failed."""

    @property
    def serves(self) -> bool:
        """Whether a worker would start."""
        return not any(each.kind == "fault" for each in self.findings)

    @property
    def exit_status(self) -> int:
        """The exit status of the command."""
        return 0 if self.serves and not self.differs else 1

    def add(self, part: str, kind: str, text: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(part, kind, text))

    def add_remarks(self, part: str, remarks: Iterable[Remark]) -> None:
        """Add a finding for each remark about a label file."""
        for each in remarks:
            self.add(part, each.kind, each.text)

    @contextmanager
    def faults_in(self, part: str) -> Iterator[None]:
        """If the block raises a ModelError or ImageError, add a finding with the error's message.

        The finding is a fault of `part`, which is a part of the service's configuration.
        """
        try:
            yield
        except (ModelError, ImageError) as error:
            self.add(part, "fault", str(error))


@contextmanager
def captured_warnings(name: str) -> Iterator[list[str]]:
    """Collect a logger's warnings in a list during the block; yield the list.

    During the block, the warnings are not logged.
    """
    warnings: list[str] = []
    logger = logging.getLogger(name)

    class Capture(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                warnings.append(record.getMessage())

    handler, propagates = Capture(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield warnings
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
