"""Take the pictures of the documentation anew, from a running demo: `make pictures`. It takes three minutes.

It needs Chromium; with the font Inter (Debian's fonts-inter) they look as they do here.
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

HERE = Path(__file__).parent
SECONDS_OF_LOAD = 100
REGIONS = ((40, 40, 220), (390, 60, 200), (245, 300, 150))
DESKTOP = {"viewport": {"width": 1280, "height": 832}}
AS_AT_HOME = """
const line = document.getElementById("curl");
line.textContent = line.textContent.replace(/[\\d.]+:\\d+/, "localhost:8001");
"""
"""The address that a reader's own would have, for that of the moment."""
WITHIN_ITS_CARD = "#rq-instances-row { visibility: hidden } table { font-size: 15px }"
"""The name of a socket is nobody's business; and some fonts are wider than those that it was drawn with."""
NO_KEYS = "document.getElementById('keys').hidden = true"
"""As on a phone, which has no mouse; the browser here always has one."""
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "is_mobile": True}


def main() -> None:
    """Start the demo, keep it busy for a while, and take all pictures."""
    stack = Stack()
    try:
        stack.start_worker()
        fail(stack)
        with sync_playwright() as playwright, busy(stack):
            browser = playwright.chromium.launch(executable_path=CHROMIUM)
            pages = {
                "page": opened(browser, stack, **DESKTOP, locale="en", color_scheme="light"),
                "page-dark": opened(browser, stack, **DESKTOP, locale="en", color_scheme="dark"),
                "page-es": opened(browser, stack, **DESKTOP, locale="es", color_scheme="light"),
                "page-phone": opened(browser, stack, **PHONE, locale="es", has_touch=True),
            }
            pages["page"].wait_for_timeout(1000 * SECONDS_OF_LOAD)  # the charts fill meanwhile
            for name, page in pages.items():
                ask(page)
                if name == "page-phone":
                    page.evaluate(NO_KEYS)
                save(page, name, whole=name == "page-phone")
            save(dashboard(browser, stack), "rq-dashboard")
    finally:
        stack.close()


def opened(browser: Browser, stack: Stack, **options: Any) -> Page:
    """The page, in a window of its own."""
    page = browser.new_context(**options).new_page()
    page.goto(f"{stack.url}/")
    return page


@contextmanager
def busy(stack: Stack) -> Iterator[None]:
    """Send jobs, now more and now fewer."""
    ended = threading.Event()

    def send() -> None:
        picture = (demo.SAMPLES / "tres.png").read_bytes()
        while not ended.wait(0.25 + random.random() / 2):
            wave = 3 + 20 * abs(time.monotonic() % 50 - 25) / 25
            files = [("blob", ("tres.png", picture))] * int(wave * (0.5 + random.random()))
            requests.post(f"{stack.url}/jobs", files=files, timeout=30)
            stack.classify(picture)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


def fail(stack: Stack) -> None:
    """A job that fails, as some do: its picture was cut off on the way."""
    picture = (demo.SAMPLES / "siete.jpg").read_bytes()
    cut = [("blob", ("cut.jpg", picture[: len(picture) // 2]))]
    requests.post(f"{stack.url}/jobs", files=cut, timeout=30)


def ask(page: Page) -> None:
    """Three regions of one picture, their answers merged."""
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
    page.evaluate(AS_AT_HOME)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)


def dashboard(browser: Browser, stack: Stack) -> Page:
    """rq-dashboard, beside the same Redis."""
    port = free_port()
    options = ("--json", "--redis-url", stack.valkey.url, "--bind", "127.0.0.1", "--port", str(port))
    stack.start("dashboard", "rq_dashboard", *options)
    url = f"http://127.0.0.1:{port}/"

    def is_up() -> bool:
        try:
            return requests.get(url, timeout=5).ok
        except requests.ConnectionError:
            return False

    eventually(is_up, 30, "the dashboard answers")
    page = browser.new_context(viewport={"width": 1240, "height": 460}).new_page()
    page.goto(url)
    page.wait_for_timeout(1500)
    page.add_style_tag(content=WITHIN_ITS_CARD)
    return page


def save(page: Page, name: str, *, whole: bool = False) -> None:
    """Write what is seen, or the whole page, as a PNG of few colours, which is a third of the size."""
    taken = Image.open(io.BytesIO(page.screenshot(full_page=whole))).convert("RGB")
    few = taken.quantize(200, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
