"""The error of an uploaded image that cannot be classified."""


class ImageError(ValueError):
    """Raised if an uploaded image cannot be classified.

    The message contains the reason and a suggested action for the sender.

    `kind` is 'unsupported', 'damaged' or 'too-large'. The kind is 'unsupported' if the service
    does not support the image's file type or pixel format.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
