"""Take the screenshot of a calibration report, with Chromium: `make pictures`."""

import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from cli.main import main
from demo.digits import NAMES
from demo.labelled import write_labelled
from tests.browser import CHROMIUM

FOLDER = Path(__file__).parent
WINDOW = {"width": 1200, "height": 1400}


def take_screenshot() -> None:
    """Calibrate the demo with 27 images of each class, except one class with 3 and one with none."""
    with tempfile.TemporaryDirectory() as name:
        images, thresholds = Path(name, "images"), Path(name, "thresholds.csv")
        write_labelled(images, 27)
        shutil.rmtree(images / NAMES[-1])
        for image in sorted((images / NAMES[-3]).iterdir())[3:]:
            image.unlink()
        os.chdir(FOLDER.parent.parent)
        demo = ("--model", "demo/model.h5", "--classes", "demo/classes.txt")
        main(["calibrate", str(images), *demo, "--output", str(thresholds), "--quiet"])
        with sync_playwright() as playwright:
            options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}
            page = playwright.chromium.launch(**options).new_page(viewport=WINDOW)
            page.goto(thresholds.with_suffix(".html").as_uri())
            page.screenshot(path=FOLDER / "calibration.png")


if __name__ == "__main__":
    take_screenshot()
