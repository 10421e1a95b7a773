"""Describes the processor, and refuses a processor on which TensorFlow cannot run."""

import platform
import re
from contextlib import suppress
from pathlib import Path

from worker.model_allowlist import ModelError


def check_processor() -> None:
    """Refuse a processor on which TensorFlow would end the process.

    Raises:
        ModelError: the processor has no AVX instructions.
    """
    if platform.machine() in ("x86_64", "AMD64") and lacks_avx(_processor_facts()):
        raise ModelError(
            f"TensorFlow needs a processor with AVX instructions, which {processor_name()} lacks. Use another"
            " machine; in a virtual machine, set the processor's type to that of the host."
        )


def lacks_avx(facts: str) -> bool:
    """Return whether the text of /proc/cpuinfo lists instructions, but no AVX instructions."""
    flags = re.search(r"^flags\s*:(.*)$", facts, re.MULTILINE)
    return flags is not None and "avx" not in flags[1].split()


def processor_name() -> str:
    """Return the name of the processor's model, or of its architecture if the model has no name."""
    name = re.search(r"^model name\s*:\s*(.+)$", _processor_facts(), re.MULTILINE)
    return " ".join(name[1].split()) if name else platform.machine()


def has_bfloat16() -> bool:
    """Return whether /proc/cpuinfo lists bfloat16 instructions, or is not readable."""
    facts = _processor_facts()
    return "bf16" in facts or not facts


def _processor_facts() -> str:
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text()
    return ""
