"""Reads the gateway's `/metrics` page."""

from collections.abc import Callable

import requests
from prometheus_client.parser import text_string_to_metric_families

MetricValues = Callable[..., float]


def read(text: str) -> MetricValues:
    """Return a function from a sample's name and labels to its value.

    The function adds up the samples that differ only in labels that the call leaves out.
    """
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in samples
            if sample.name == f"classification_{name}" and labels.items() <= sample.labels.items()
        )

    return value


def scrape(url: str) -> MetricValues:
    answer = requests.get(f"{url}/metrics", timeout=10)
    assert answer.status_code == 200
    return read(answer.text)
