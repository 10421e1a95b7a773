"""Take the picture of the contact sheet anew: `python -m docs.pictures.sheet`. It needs Chromium."""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import demo
from cli.main import main as command
from tests.browser import CHROMIUM

PICTURE = Path(__file__).with_name("sheet.png")


def main() -> None:
    """Classify the demo's samples and a file that is no photo, and photograph the page."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photos, page_file = Path(folder, "photos"), Path(folder, "photos.html")
        shutil.copytree(demo.SAMPLES / "digits", photos)
        for name in ("siete.jpg", "tres-regiones.jpg", "expected.json"):
            shutil.copy(demo.SAMPLES / name, photos)
        output = ("--output", f"{folder}/photos.csv", "--html", str(page_file))
        command(["classify", str(photos), "--quiet", "--top-n", "2", *output])
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 830}, color_scheme="light")
        page.goto(page_file.as_uri())
        page.select_option("#sort", "low")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(500)  # pictures are drawn as they come into sight
        page.screenshot(path=PICTURE)
        browser.close()
    few = Image.open(PICTURE).convert("RGB").quantize(200, dither=Image.Dither.NONE)
    few.save(PICTURE, optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
