"""The gateway with one second of grace for slow uploads instead of 30, to keep the tests short."""

import gateway.upload.slow_upload
from gateway.app import create_app

gateway.upload.slow_upload.GRACE_SECONDS = 1.0

__all__ = ["create_app"]
