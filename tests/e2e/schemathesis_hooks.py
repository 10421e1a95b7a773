"""Hooks that adapt schemathesis to this service."""

import os

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import UseAfterFree

import demo

IMAGES = [(demo.SAMPLES / name).read_bytes() for name in ("siete.jpg", "tres.png", "tres-regiones.jpg")]

schemathesis.openapi.format("binary", st.sampled_from(IMAGES))


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: schemathesis.Case,
    response: schemathesis.Response,
) -> bool:
    """Ignore reads of deleted jobs: DELETE cancels a job, and later reads report the status `canceled`."""
    return not (isinstance(failure, UseAfterFree) and response.json()["status"] == "canceled")


@schemathesis.hook
def after_call(
    context: schemathesis.HookContext, case: schemathesis.Case, response: schemathesis.Response
) -> None:
    """Write the operation and the status to the file ANSWERS for the test."""
    with open(os.environ.get("ANSWERS", os.devnull), "a") as answers:
        answers.write(f"{case.operation.label} {response.status_code}\n")
