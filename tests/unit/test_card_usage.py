"""How busy the cards are: with a program in place of the driver's, which no test machine has."""

import time
from pathlib import Path

import pytest

from cli.bench.card_usage import card_usage, describe_cards

SMI = """#!/bin/sh
query=--query-gpu=index,name,utilization.gpu,memory.used,memory.total
[ "$*" = "$query --format=csv,noheader,nounits --loop-ms=100" ] || exit 6
while :; do
  printf '%s\\n' "0, NVIDIA H200, 30, 4000, 143771" "1, NVIDIA H200, 0, [N/A], [N/A]"
  printf '%s\\n' "0, NVIDIA H200, 50, 8000, 143771" "1, NVIDIA H200, 0, [N/A], [N/A]"
  printf '0, NVIDIA H2'
  touch "$SAMPLED"
  exec sleep 60
done
"""


def test_the_share_of_busy_time_and_the_memory_are_summarized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SAMPLED", str(tmp_path / "sampled"))
    with card_usage() as usage:
        while not (tmp_path / "sampled").exists():
            time.sleep(0.01)
    first, second = usage
    assert first == {
        "name": "NVIDIA H200",
        "busy": pytest.approx(0.4),
        "memory_mb": pytest.approx(8388.6, abs=0.1),
        "memory_total_mb": pytest.approx(150754.8, abs=0.1),
    }
    assert (second["busy"], second["memory_mb"]) == (0, 0)
    assert describe_cards(usage).startswith("NVIDIA H200, 40% busy, 8.4 of 150.8 GB; NVIDIA H200, 0% busy")


@pytest.mark.parametrize("script", [None, "#!/bin/sh\necho 'No devices were found'\nexit 6\n"])
def test_without_a_card_there_is_no_gpu(
    script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script:
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with card_usage() as usage:
        pass
    assert usage == [] and describe_cards(usage) == "no GPU"
