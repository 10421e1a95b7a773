"""Take the screenshot of a contact sheet, with Chromium: `make pictures`."""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import demo
from cli.main import main as command
from tests.browser import CHROMIUM

SCREENSHOT = Path(__file__).with_name("sheet.png")


def main() -> None:
    """Classify the demo's samples and one file that is not an image, and take the screenshot."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photos, sheet = Path(folder, "photos"), Path(folder, "photos.html")
        shutil.copytree(demo.SAMPLES / "digits", photos)
        for name in ("siete.jpg", "tres-regiones.jpg", "expected.json"):
            shutil.copy(demo.SAMPLES / name, photos)
        output = ("--output", f"{folder}/photos.csv", "--html", str(sheet))
        command(["classify", str(photos), "--quiet", "--top-n", "2", *output])
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 830}, color_scheme="light")
        page.goto(sheet.as_uri())
        page.select_option("#sort", "low")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(500)  # images are loaded when they scroll into view
        page.screenshot(path=SCREENSHOT)
        browser.close()
    reduced = Image.open(SCREENSHOT).convert("RGB").quantize(200, dither=Image.Dither.NONE)
    reduced.save(SCREENSHOT, optimize=True)  # fewer colours reduce the file to a third


if __name__ == "__main__":
    main()
