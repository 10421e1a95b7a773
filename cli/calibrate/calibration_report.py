"""The report of a calibration: one HTML file that contains its images and loads no other file."""

import io
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageOps

from cli.calibrate import charts
from cli.calibrate.calibration import Calibration
from cli.calibrate.choose_thresholds import MAX_INTERVAL
from cli.calibrate.report_notes import evaluated_by
from shared.image_header import open_image

SCRIPT = Path(__file__).with_name("calibration_report.js")
MAX_MISTAKES = 12
"""Maximum number of wrong answers that the report shows with a thumbnail."""

THUMBNAIL = (240, 240)
"""Maximum width and height of a thumbnail, in pixels."""


def page(found: Calibration) -> str:
    """Return the report as HTML."""
    answers = found.scored.answers
    environment = Environment(
        loader=PackageLoader("cli.calibrate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    script = SCRIPT.read_text(encoding="utf-8")
    return environment.get_template("calibration_report.html").render(
        script=script,
        # The browser runs only the script with this digest, so a script in a file's or class's name cannot
        # run.
        digest=b64encode(sha256(script.encode()).digest()).decode(),
        facts=found.facts,
        evaluated_by=evaluated_by(found.facts),
        max_interval=MAX_INTERVAL,
        reliability=charts.reliability(found.facts["bins"]),
        thresholds=charts.thresholds(answers, found.evaluation),
        confusions=charts.confusions(answers, found.classes),
        max_classes=charts.MAX_CLASSES,
        mistakes=_top_mistakes(found),
    )


def _top_mistakes(found: Calibration) -> list[dict[str, Any]]:
    """Return the wrong answers with the highest scores.

    Such answers show errors of the model or wrong labels.
    """
    answers = found.scored.answers
    wrong = np.flatnonzero(~answers.right)
    order = wrong[np.argsort(-answers.scores[wrong, 0], kind="stable")][:MAX_MISTAKES]
    return [
        {
            "file": found.scored.images[at].path.name,
            "class": found.classes[answers.truth[at]],
            "answer": found.classes[answers.best[at, 0]],
            "score": float(answers.scores[at, 0]),
            "picture": _thumbnail(found.scored.images[at].path),
        }
        for at in order
    ]


def _thumbnail(path: Path) -> str:
    opened = open_image(path.read_bytes(), 2**31)
    opened.image.draft("RGB", THUMBNAIL)
    image = ImageOps.exif_transpose(opened.image).convert("RGB")
    image.thumbnail(THUMBNAIL, Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + b64encode(file.getvalue()).decode()
