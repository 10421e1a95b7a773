"""The report of a calibration: one HTML file that holds its pictures and needs no host."""

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
from cli.calibrate.choose_thresholds import WIDEST
from cli.calibrate.report_notes import judged_by, percent
from shared.image_header import open_image

SCRIPT = Path(__file__).with_name("calibration_report.js")
MAX_WRONG = 12
THUMBNAIL = (240, 240)


def page(found: Calibration) -> str:
    """The report's HTML."""
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
        # The page's own script alone may run, whatever a file's or a class's name should be made to bring in.
        digest=b64encode(sha256(script.encode()).digest()).decode(),
        facts=found.facts,
        judged_by=judged_by(found.facts),
        percent=percent,
        widest=WIDEST,
        reliability=charts.reliability(found.facts["bins"]),
        thresholds=charts.thresholds(answers, found.judged),
        confusions=charts.confusions(answers, found.classes),
        most_classes=charts.MAX_CLASSES,
        wrong=_surest_mistakes(found),
    )


def _surest_mistakes(found: Calibration) -> list[dict[str, Any]]:
    """The wrong answers with the highest scores: a weakness of the model, or a wrong label."""
    answers = found.scored.answers
    wrong = np.flatnonzero(~answers.right)
    order = wrong[np.argsort(-answers.scores[wrong, 0], kind="stable")][:MAX_WRONG]
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
