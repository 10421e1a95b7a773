"""Take the screenshots of the page and of rq-dashboard from a running demo: `make pictures`.

Needs Chromium and about three minutes. The committed screenshots use the font Inter (Debian's fonts-inter).
"""

import io
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import demo
from tests.browser import CHROMIUM
from tests.stack import Stack, eventually, free_port

FOLDER = Path(__file__).parent
SECONDS_OF_LOAD = 100
REGIONS = ((40, 40, 220), (390, 60, 200), (245, 300, 150))
DESKTOP = {"viewport": {"width": 1280, "height": 856}}
DEFAULT_ADDRESS = """
const line = document.getElementById("curl");
line.textContent = line.textContent.replace(/[\\d.]+:\\d+/, "localhost:8001");
"""
"""Script that replaces the demo's address with the default address of the service."""
DASHBOARD_STYLE = "#rq-instances-row { visibility: hidden } table { font-size: 15px }"
"""Hides the name of the Redis socket, and reduces the text because some fonts are too wide."""
HIDE_KEYBOARD_HINT = "document.getElementById('keys').hidden = true"
"""Phones show no keyboard hint; this browser always has a mouse, so it shows the hint."""
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "is_mobile": True}


def main() -> None:
    """Start the demo, keep it busy for a while, and take all screenshots."""
    stack = Stack()
    try:
        stack.start_worker()
        submit_failing_job(stack)
        with sync_playwright() as playwright, load(stack):
            browser = playwright.chromium.launch(executable_path=CHROMIUM)
            pages = {
                "page": open_page(browser, stack, **DESKTOP, locale="en", color_scheme="light"),
                "page-dark": open_page(browser, stack, **DESKTOP, locale="en", color_scheme="dark"),
                "page-es": open_page(browser, stack, **DESKTOP, locale="es", color_scheme="light"),
                "page-phone": open_page(browser, stack, **PHONE, locale="es", has_touch=True),
            }
            pages["page"].wait_for_timeout(1000 * SECONDS_OF_LOAD)  # the time to fill the charts
            for name, page in pages.items():
                classify_regions(page)
                if name == "page-phone":
                    page.evaluate(HIDE_KEYBOARD_HINT)
                save(page, name, full_page=name == "page-phone")
            save(open_dashboard(browser, stack), "rq-dashboard")
    finally:
        stack.close()


def open_page(browser: Browser, stack: Stack, **options: Any) -> Page:
    """Open the page in a new window."""
    page = browser.new_context(**options).new_page()
    page.goto(f"{stack.url}/")
    return page


@contextmanager
def load(stack: Stack) -> Iterator[None]:
    """Send jobs at a varying rate until the context ends."""
    ended = threading.Event()

    def send() -> None:
        image = (demo.SAMPLES / "tres.png").read_bytes()
        while not ended.wait(0.25 + random.random() / 2):
            wave = 3 + 20 * abs(time.monotonic() % 50 - 25) / 25
            files = [("blob", ("tres.png", image))] * int(wave * (0.5 + random.random()))
            requests.post(f"{stack.url}/jobs", files=files, timeout=30)
            stack.classify(image)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


def submit_failing_job(stack: Stack) -> None:
    """Submit a job that fails because its image is truncated."""
    image = (demo.SAMPLES / "siete.jpg").read_bytes()
    truncated = [("blob", ("truncated.jpg", image[: len(image) // 2]))]
    requests.post(f"{stack.url}/jobs", files=truncated, timeout=30)


def classify_regions(page: Page) -> None:
    """Classify three regions of one image and merge their predictions."""
    page.set_input_files("#file", demo.SAMPLES / "tres-regiones.jpg")
    for number, region in enumerate(REGIONS, 1):
        page.click("#add")
        row = page.locator(f"#squares li:nth-child({number})")
        for field, value in (("side", region[2]), ("x", region[0]), ("y", region[1])):
            row.locator(f"[name={field}]").fill(str(value))
            row.locator(f"[name={field}]").blur()
    page.fill("#top-n", "2")
    page.check("#consolidate")
    page.click("#classify")
    page.locator(".answer").first.wait_for()
    page.evaluate(DEFAULT_ADDRESS)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)


def open_dashboard(browser: Browser, stack: Stack) -> Page:
    """Open rq-dashboard for the same Redis server."""
    port = free_port()
    options = ("--json", "--redis-url", stack.valkey.url, "--bind", "127.0.0.1", "--port", str(port))
    stack.start("dashboard", "rq_dashboard", *options)
    url = f"http://127.0.0.1:{port}/"

    def is_up() -> bool:
        try:
            return requests.get(url, timeout=5).ok
        except requests.ConnectionError:
            return False

    eventually(is_up, 30, "rq-dashboard responds")
    page = browser.new_context(viewport={"width": 1240, "height": 460}).new_page()
    page.goto(url)
    page.wait_for_timeout(1500)
    page.add_style_tag(content=DASHBOARD_STYLE)
    return page


def save(page: Page, name: str, *, full_page: bool = False) -> None:
    """Write a screenshot of the visible part or the full page; fewer colours reduce the file to a third."""
    screenshot = Image.open(io.BytesIO(page.screenshot(full_page=full_page))).convert("RGB")
    reduced = screenshot.quantize(200, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
