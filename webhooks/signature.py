"""Signs webhooks in the way that the specification Standard Webhooks defines."""

import base64
import hashlib
import hmac
from collections.abc import Sequence


def signed_headers(message_id: str, timestamp: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Return a webhook's HTTP headers.

    The headers contain one signature for each secret: the HMAC-SHA256 of `id.timestamp.body`.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(secret, content, hashlib.sha256) for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": "classification-server",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join("v1," + base64.b64encode(digest).decode() for digest in digests),
    }
