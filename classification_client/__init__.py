"""A Python client of classification-server with retries, timeouts and typed results.

    with Client("http://localhost:8001") as client:
        answer = client.classify("photo.jpg", top_n=3)
        print(answer.best.class_name, answer.best.score)

`AsyncClient` has the same methods as coroutines. The package depends only on httpx; it imports no code of the
server.
"""

from classification_client.client import AsyncClient, Client
from classification_client.errors import ClientError, JobFailed, Problem, TimedOut, Unreachable
from classification_client.results import Answer, Job, Outcome, Prediction, Region, Species

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "ClientError",
    "Job",
    "JobFailed",
    "Outcome",
    "Prediction",
    "Problem",
    "Region",
    "Species",
    "TimedOut",
    "Unreachable",
]
