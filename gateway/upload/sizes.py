"""Limits the sizes of an upload's body, of each image, of all images together, and of all other parts."""

from gateway.problem import Problem, field_problem
from shared.settings import Settings

MAX_OTHER_BYTES = 256 * 1024
"""Maximum total size of a form's parts that are not images, in bytes."""

MAX_OTHER_PARTS = 31
"""Maximum number of a form's parts that are not images."""

MAX_LARGEST_IMAGES = 10
"""Maximum total size of a form's images, as a multiple of MAX_UPLOAD_BYTES. This maximum does not limit
the number of images."""


def max_images(settings: Settings) -> int:
    """Return the maximum number of images in one form. The number is at most the size of the bulk queue."""
    return min(settings.max_jobs_per_request, settings.bulk_queue_size)


def max_body_bytes(settings: Settings, images: int) -> int:
    """Return the maximum size of a request's body in bytes.

    The body contains at most `images` images.
    """
    return min(images, MAX_LARGEST_IMAGES) * settings.max_upload_bytes + MAX_OTHER_BYTES


def body_too_large(settings: Settings) -> Problem:
    """Return the error 413 for a request's body that is larger than `max_body_bytes`."""
    detail = f"expected images of at most {settings.max_upload_bytes} bytes each, got a larger request"
    return Problem(413, f"blob: {detail}. Send smaller or fewer images.")


def too_many_parts(max_parts: int) -> Problem:
    """Return the error 413 for a form with too many parts or too many bytes of text."""
    detail = f"expected at most {MAX_OTHER_BYTES} bytes of text and {max_parts} parts, got a larger form"
    return Problem(413, f"form: {detail}. Send fewer or shorter fields.")


def check_image_size(image: bytes, settings: Settings, name: str) -> None:
    """Check the size of one image.

    Raises:
        Problem: the image is larger than MAX_UPLOAD_BYTES.
    """
    if len(image) > settings.max_upload_bytes:
        detail = f"expected at most {settings.max_upload_bytes} bytes, got {len(image)} bytes"
        raise field_problem(413, name, f"{detail}. Send a smaller image.")


def check_images(images: list[bytes], settings: Settings) -> None:
    """Check the number and the total size of a form's images.

    Raises:
        Problem: there are too many images, or the images' total size exceeds MAX_QUEUE_BYTES.
    """
    size = sum(map(len, images))
    if len(images) > max_images(settings):
        detail = f"expected at most {max_images(settings)} images, got {len(images)} images"
    elif size > settings.max_queue_bytes:
        detail = f"expected images with at most {settings.max_queue_bytes} bytes in total, got {size} bytes"
    else:
        return
    raise field_problem(413, "blob", f"{detail}. Send the images in several requests.")
