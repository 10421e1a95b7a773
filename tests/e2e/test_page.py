"""Tests of the page in headless Chromium."""

import io
import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

import demo
from tests.browser import CHROMIUM, needs_chromium
from tests.e2e.test_readme import near
from tests.stack import Stack, eventually, free_port

pytestmark = needs_chromium

THREE = [(40, 40, 220), (390, 60, 200), (245, 300, 150)]
SCENE, SEVEN = demo.SAMPLES / "tres-regiones.jpg", demo.SAMPLES / "siete.jpg"
KEY = "0123456789abcdef-of-a-page"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB"}
PHONE = DESKTOP | {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM) as browser:
        yield browser


class Visitor:
    """Opens pages and collects script errors, console warnings and requests to other hosts."""

    def __init__(self, browser: Browser) -> None:
        self.browser, self.faults, self.pages = browser, [], []

    def open(self, url: str, **options: Any) -> Page:
        page = self.browser.new_context(**DESKTOP | options).new_page()
        self.pages.append(page)
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: self.faults.append(f"script error: {error}"))
        page.on("console", lambda message: self.check_console(message.type, message.text))
        page.on("request", lambda request: self.check_request(request.url, url))
        page.goto(url)
        return page

    def check_console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.faults.append(text)  # this includes violations of the Content-Security-Policy

    def check_request(self, requested: str, url: str) -> None:
        if not requested.startswith((url, f"blob:{url}")):
            self.faults.append(f"request to another host: {requested}")

    def close(self) -> None:
        for page in self.pages:
            page.context.close()


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    visitor = Visitor(browser)
    yield visitor
    visitor.close()
    assert visitor.faults == []


def choose(page: Page, picture: Path | tuple[str, bytes]) -> None:
    name, data = (picture.name, picture.read_bytes()) if isinstance(picture, Path) else picture
    page.set_input_files("#file", {"name": name, "mimeType": "image/jpeg", "buffer": data})
    expect(page.locator("#options")).to_be_visible()


def draw(page: Page, x: int, y: int, side: int) -> None:
    """Draw a square with the mouse, in pixels of the image, from its upper left corner."""
    drag(page, (x, y), (x + side, y + side))


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*on_screen(page, *start))
    page.mouse.down()
    page.mouse.move(*on_screen(page, *end), steps=3)
    page.mouse.up()


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    shown = page.locator("#frame").bounding_box()
    width = page.evaluate("document.getElementById('picture').naturalWidth")
    assert shown is not None
    return shown["x"] + x * shown["width"] / width, shown["y"] + y * shown["width"] / width


def squares(page: Page) -> list[tuple[int, ...]]:
    rows = page.locator("#squares li").all()
    return [tuple(int(field.input_value()) for field in row.locator("input").all()) for row in rows]


def nearly(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]], by: int = 2) -> bool:
    """Whether the regions are equal within the rounding to pixels of the screen."""
    pairs = [pair for one, other in zip(found, wanted, strict=True) for pair in zip(one, other, strict=True)]
    return all(abs(a - b) <= by for a, b in pairs)


def classify(page: Page) -> None:
    page.click("#classify")
    expect(page.locator(".answer").first).to_be_visible()


def best(page: Page) -> list[str]:
    return page.locator(".answer li:first-child .class").all_inner_texts()


def by_curl(page: Page) -> Any:
    """The response to the curl command that the page shows."""
    line = page.locator("#curl").inner_text()
    done = subprocess.run(
        f"API_KEY={KEY}; {line} -sS",
        shell=True,
        cwd=demo.SAMPLES,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return json.loads(done.stdout)


# ---------------------------------------------------------------------- results


def test_an_image_gets_bars_with_thresholds_and_the_same_result_by_curl(
    visitor: Visitor, stack: Stack
) -> None:
    page = visitor.open(f"{stack.url}/")
    choose(page, SEVEN)
    page.fill("#top-n", "2")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    expect(page.locator("#copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#curl").inner_text()
    classify(page)
    rows = page.locator(".answer li")
    assert rows.locator(".class").all_inner_texts() == ["Digitus septem albus", "Digitus novem albus"]
    assert rows.locator(".score").all_inner_texts() == ["99.9%", "< 0.1%"]
    assert rows.locator(".passed").all_inner_texts() == ["accepted, above 50%", "not accepted, below 50%"]
    assert [row.get_attribute("class") for row in rows.all()] == ["accepted", "refused"]
    assert [mark.evaluate("each => each.style.left") for mark in rows.locator(".mark").all()] == ["50%"] * 2
    fill = rows.locator(".fill").first.evaluate("each => parseFloat(each.style.width)")
    assert 99 < fill <= 100
    assert "Digitus septem albus" in page.locator("#announcement").inner_text()
    assert near(by_curl(page), stack.classify(SEVEN, top_n=2).json())


def test_drawn_regions_are_classified_separately_and_merged(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    choose(page, SCENE)
    for region in THREE:
        draw(page, *region)
    assert nearly(squares(page), THREE)
    classify(page)
    assert best(page) == ["Digitus septem albus", "Digitus septem niger", "Digitus duo albus"]
    assert [next(iter(region)) for region in by_curl(page)] == best(page)
    page.check("#consolidate")
    expect(page.locator("#stale")).to_be_visible()  # the results are from a request without it
    page.click("#classify")
    expect(page.locator(".species strong")).to_have_text("Digitus septem")
    expect(page.locator(".species .hint")).to_contain_text("Digitus duo")
    expect(page.locator("#stale")).to_be_hidden()
    assert [name for name, _ in by_curl(page)] == ["Digitus septem", "Digitus duo"]


def test_a_result_without_an_accepted_species_says_so(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    choose(page, SEVEN)
    draw(page, 40, 40, 120)
    page.check("#consolidate")
    classify(page)
    expect(page.locator(".species")).to_contain_text("Especie desconocida")
    expect(page.locator(".species")).to_contain_text("no prediction accepted")


def test_regions_are_in_pixels_of_the_upright_image(visitor: Visitor, stack: Stack) -> None:
    """A phone stores the image in its sensor's orientation and adds the EXIF orientation."""
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.open(SCENE).transpose(Image.Transpose.ROTATE_90).save(turned, "JPEG", quality=95, exif=exif)
    page = visitor.open(f"{stack.url}/")
    choose(page, ("turned.jpg", turned.getvalue()))
    expect(page.locator("#name")).to_contain_text("640×480")
    draw(page, *THREE[1])
    classify(page)
    assert best(page) == ["Digitus septem niger"]


# ---------------------------------------------------------------------- regions


def test_a_region_is_moved_resized_and_removed_by_mouse(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    choose(page, SCENE)
    drag(page, (260, 260), (40, 40))  # from its lower right corner
    assert nearly(squares(page), [(40, 40, 220)])
    drag(page, (150, 150), (170, 140))
    assert nearly(squares(page), [(60, 30, 220)])
    drag(page, (280, 250), (180, 150))  # the lower right handle
    assert nearly(squares(page), [(60, 30, 120)])
    drag(page, (120, 90), (-500, -500))  # it stays inside the image
    assert squares(page)[0][:2] == (0, 0)
    drag(page, (400, 300), (402, 301))  # a click is no region
    assert len(squares(page)) == 1
    page.get_by_role("button", name="Remove region 1").click()
    assert squares(page) == [] and "regions" not in page.locator("#curl").inner_text()


def test_a_region_is_added_moved_resized_and_removed_by_keyboard(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    choose(page, SCENE)
    page.focus("#add")
    page.keyboard.press("Enter")
    assert squares(page) == [(200, 120, 240)]
    expect(page.get_by_role("button", name="Region 1: x 200, y 120, side 240")).to_be_focused()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert squares(page) == [(210, 140, 250)]
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    assert squares(page) == [(0, 140, 250)]  # it stays inside the image
    page.keyboard.press("Delete")
    assert squares(page) == []
    expect(page.locator("#add")).to_be_focused()
    expect(page.locator("#announcement")).to_have_text("Region 1 removed")


def test_a_region_is_set_by_its_number_fields(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    choose(page, SCENE)
    page.click("#add")
    group = page.get_by_role("group", name="Region 1")
    for field, value in zip(("side", "x", "y"), (200, 390, 60), strict=True):
        group.get_by_label(field, exact=True).fill(str(value))
        page.keyboard.press("Tab")
    assert squares(page) == [(390, 60, 200)]
    group.get_by_label("x", exact=True).fill("9999")
    page.keyboard.press("Tab")
    assert squares(page) == [(440, 60, 200)]
    expect(page.get_by_role("button", name="Remove all")).to_be_hidden()  # a single region has its own button
    page.click("#add")
    page.get_by_role("button", name="Remove all").click()
    assert squares(page) == [] and page.locator(".region").count() == 0
    assert "regions" not in page.locator("#curl").inner_text()


def test_the_keyboard_alone_is_enough(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    with page.expect_file_chooser() as chooser:
        reach(page, "choose")
        page.keyboard.press("Enter")
    chooser.value.set_files(SCENE)
    expect(page.locator("#classify")).to_be_focused()
    reach(page, "add")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".region")).to_be_focused()
    reach(page, "add", "Tab")
    page.keyboard.press("Enter")
    reach(page, "clear", "Tab")
    page.keyboard.press("Enter")
    assert squares(page) == [] and page.locator("#clear").is_hidden()
    expect(page.locator("#add")).to_be_focused()
    reach(page, "classify", "Shift+Tab")
    page.route("**/jobs/*", lambda route: route.fulfill(status=503, headers={"Retry-After": "1"}), times=1)
    page.keyboard.press("Enter")
    expect(page.locator("#classify")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")  # sends no second request
    expect(page.locator(".answer").first).to_be_visible()
    expect(page.locator("#classify")).to_be_focused()
    expect(page.locator("#classify")).to_have_attribute("aria-disabled", "false")
    with page.expect_file_chooser() as chooser:
        reach(page, "another", "Shift+Tab")
        page.keyboard.press("Enter")
    chooser.value.set_files(SEVEN)
    expect(page.locator("#name")).to_contain_text("siete.jpg")
    expect(page.locator("#classify")).to_be_focused()


def reach(page: Page, name: str, key: str = "Tab") -> None:
    """Press a key until the element with this id has the focus."""
    for _ in range(20):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not lead to {name}")


# ---------------------------------------------------------------------- images

TRANSFER_FILE = """
async ([kind, type, url]) => {
  const data = new DataTransfer();
  data.items.add(new File([await (await fetch(url)).blob()], "p.jpg", { type }));
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
    : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}
"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_can_be_dropped_or_pasted(visitor: Visitor, stack: Stack, kind: str) -> None:
    page = visitor.open(f"{stack.url}/")
    page.route("**/picture.jpg", lambda route: route.fulfill(body=SEVEN.read_bytes()))
    page.evaluate(TRANSFER_FILE, [kind, "image/jpeg", "picture.jpg"])
    classify(page)
    assert best(page) == ["Digitus septem albus"]


def test_a_file_of_another_type_is_refused(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    expect(page.locator("#model")).to_contain_text("20 classes")  # the connection clears earlier errors
    page.evaluate(TRANSFER_FILE, ["drop", "text/plain", "health/live"])
    expect(page.get_by_role("alert")).to_have_text("This file is not an image.")


@pytest.mark.parametrize("name", ["a;b.jpg", "a,b.jpg", 'it\'s "new" \\ ñ.jpg', "$(date) `x`.jpg"])
def test_the_command_quotes_any_file_name(visitor: Visitor, stack: Stack, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SEVEN.read_bytes())
    page = visitor.open(f"{stack.url}/")
    choose(page, tmp_path / name)
    line = page.locator("#curl").inner_text()
    done = subprocess.run(
        f"{line} -sS", shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert "Digitus septem albus" in json.loads(done.stdout)[0], done.stdout


# ---------------------------------------------------------------------- errors


def test_the_servers_error_message_is_shown(visitor: Visitor, stack: Stack) -> None:
    damaged = SEVEN.read_bytes()[:900]
    detail = stack.classify(damaged).json()["detail"]
    page = visitor.open(f"{stack.url}/")
    choose(page, ("damaged.jpg", damaged))
    page.click("#classify")
    expect(page.get_by_role("alert")).to_have_text(detail)
    assert page.get_by_role("alert").get_attribute("lang") == "en"
    choose(page, SEVEN)  # the next image works
    expect(page.locator("#problem")).to_be_hidden()
    classify(page)


def test_a_waiting_job_shows_its_position_and_can_be_canceled(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    choose(page, SEVEN)
    stack.valkey.client.set("rq:suspended", "1")  # as `rq suspend` does
    try:
        page.wait_for_timeout(1500)  # an idle worker checks for the suspension every second
        page.click("#classify")
        expect(page.locator("#waiting")).to_contain_text("Position 1 in the queue")
        expect(page.get_by_role("status")).to_contain_text("Position 1 in the queue")
        page.focus("#cancel")
        page.keyboard.press("Enter")
        expect(page.locator("#wait")).to_be_hidden()
        expect(page.locator("#nothing")).to_have_text("Canceled.")
        expect(page.get_by_role("status")).to_have_text("Canceled.")
        expect(page.locator("#classify")).to_be_focused()  # the Cancel button is hidden now
        eventually(lambda: stack.valkey.client.llen("rq:queue:interactive") == 0, 5, "it is canceled")
    finally:
        stack.valkey.client.delete("rq:suspended")
    classify(page)


def test_an_unreachable_server_is_reported_and_the_page_recovers(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    choose(page, SEVEN)
    expect(page.locator("#span")).to_contain_text("The last three minutes")
    page.route("**/status", lambda route: route.abort())
    page.route("**/classify", lambda route: route.abort())
    expect(page.locator("#span")).to_contain_text("No figures")
    page.click("#classify")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    page.unroute_all()
    classify(page)
    expect(page.locator("#span")).to_contain_text("The last three minutes")


@pytest.mark.parametrize("status", [429, 502, 503, 504, None])
def test_a_job_survives_failed_polls(visitor: Visitor, stack: Stack, status: int | None) -> None:
    page, polls = visitor.open(f"{stack.url}/"), []

    def fail(route: Route) -> None:
        polls.append(route.request.url)
        route.abort() if status is None else route.fulfill(status=status, headers={"Retry-After": "1"})

    page.route("**/jobs/*", fail, times=2)
    choose(page, SEVEN)
    page.click("#classify")
    expect(page.locator("#waiting")).to_contain_text("Trying again")
    expect(page.locator(".answer").first).to_be_visible()
    assert best(page) == ["Digitus septem albus"] and len(set(polls)) == 1
    expect(page.locator("#problem")).to_be_hidden()


def test_too_long_a_retry_after_is_an_error_and_a_pause_can_be_canceled(
    visitor: Visitor, stack: Stack
) -> None:
    page = visitor.open(f"{stack.url}/")
    seconds = ["999"]
    page.route(
        "**/jobs/*",
        lambda route: route.fulfill(
            status=429, headers={"Retry-After": seconds[0]}, body='{"detail": "too many"}'
        ),
    )
    choose(page, SEVEN)
    page.click("#classify")
    expect(page.get_by_role("alert")).to_have_text("too many")
    seconds[0] = "99"
    page.click("#classify")
    expect(page.locator("#waiting")).to_contain_text("Trying again")
    page.click("#cancel")
    expect(page.locator("#wait")).to_be_hidden()
    expect(page.locator("#problem")).to_be_hidden()


def test_a_long_wait_needs_few_polls(visitor: Visitor, stack: Stack) -> None:
    """Each poll counts against the visitor's RATE_LIMIT."""
    page, waits = visitor.open(f"{stack.url}/"), []

    def answer(route: Route) -> None:
        waits.append(int(parse_qs(urlsplit(route.request.url).query)["wait"][0]))
        if len(waits) == 6:
            route.continue_()
        else:
            job = {"status": "queued", "position": 3, "estimated_wait": None, "result": None, "error": None}
            route.fulfill(json=job | {"ended_at": None})

    page.route("**/jobs/*", answer)
    choose(page, SEVEN)
    classify(page)
    assert waits == [2, 4, 8, 16, 20, 20]


# ---------------------------------------------------------------------- service status


def test_the_status_strip_shows_the_service_status(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/")
    figure = {
        name: page.locator(f"#status .{name} strong")
        for name in ("workers", "waiting", "rate", "batch", "answered")
    }
    expect(figure["workers"]).to_have_text("1")
    expect(figure["waiting"]).to_have_text("0")
    # The rate needs two samples; inputs of earlier tests may still count in the first rates.
    expect(figure["rate"]).to_have_text("0", timeout=20_000)
    files = [("blob", ("p.jpg", SEVEN.read_bytes()))] * 20
    assert requests.post(f"{stack.url}/jobs", files=files, timeout=30).status_code == 202
    stack.classify(SEVEN)
    expect(figure["rate"]).not_to_have_text("0")
    for name in ("batch", "answered"):
        expect(figure[name]).to_contain_text("1" if name == "batch" else "s")
    for chart in page.locator("#status .line").all():
        assert (chart.get_attribute("d") or "").startswith("M")


BOUNDS = (0.005, 0.01, 0.025, None)


def counters(waiting: int, inputs: int, batches: int, *answers: int) -> dict[str, Any]:
    """A response of `/status`, with the numbers of answers by `BOUNDS`."""
    return {
        "workers": 3,
        "waiting": {"interactive": 1, "bulk": waiting - 1},
        "running": {"interactive": 0, "bulk": 0},
        "inputs": inputs,
        "batches": batches,
        "answers": [{"within": within, "jobs": n} for within, n in zip(BOUNDS, answers, strict=True)],
    }


# A sample every two seconds: the response, and the rate, mean batch and 95% that the page shows.
SAMPLES = [
    (counters(1, 100, 10, 5, 0, 0, 0), "–, –, –"),  # a rate needs two samples
    (
        counters(2, 140, 14, 15, 9, 1, 0),
        "20, 10, 10 ms",
    ),  # 40 inputs in 2 s, 4 batches; 19 of 20 within 10 ms
    (counters(3, 140, 14, 15, 9, 1, 0), "10, 10, 10 ms"),  # 40 inputs in 4 s
    (counters(4, 142, 15, 15, 9, 1, 0), "7, 8.4, 10 ms"),  # 42 inputs in 6 s, 5 batches
    (
        counters(5, 160, 20, 15, 9, 1, 30),
        "7.5, 6, 25 ms",
    ),  # above all bounds, so the highest bound is shown
    (counters(6, 7, 2, 1, 0, 0, 0), "–, –, –"),  # Redis lost its data
    (
        counters(7, 10, 4, 1, 4, 0, 0),
        "1.5, 1.5, 10 ms",
    ),  # 3.8 of 4 between 5 and 10 ms: 9.75
    (
        counters(8, 18, 6, 1, 4, 8, 0),
        "2.8, 2.8, 24 ms",
    ),  # 11.4 of 12: 7.4 of 8 between 10 and 25: 23.9
    *((counters(waiting, 18, 6, 1, 4, 8, 0), None) for waiting in range(9, 15)),
    (counters(15, 18, 6, 1, 4, 8, 0), "0, –, –"),  # no input in the last ten seconds
]


def test_the_status_figures_follow_from_the_samples(visitor: Visitor, stack: Stack) -> None:
    page = visitor.browser.new_page(locale="en-GB")
    visitor.pages.append(page)
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    script = iter([sample for sample, _ in SAMPLES])
    page.route("**/status", lambda route: route.fulfill(json=next(script)))
    page.goto(f"{stack.url}/")
    for waiting, (_, shown) in enumerate(SAMPLES, 1):
        page.clock.run_for(2000 if waiting > 1 else 0)
        expect(page.locator("#status .waiting strong")).to_have_text(str(waiting))
        if shown:
            assert page.locator("#status strong").all_inner_texts() == ["3", str(waiting), *shown.split(", ")]


def test_the_status_names_the_workers_devices(visitor: Visitor, stack: Stack) -> None:
    page = visitor.browser.new_page(locale="en-GB")
    visitor.pages.append(page)
    devices = [{"kind": "cpu", "name": "Xeon", "workers": 1}, {"kind": "gpu", "name": "H200", "workers": 2}]
    sample = counters(1, 0, 0, 0, 0, 0, 0) | {"devices": devices}
    page.route("**/status", lambda route: route.fulfill(json=sample))
    page.goto(f"{stack.url}/")
    expect(page.locator("#status .workers small")).to_have_text("CPU, GPU")
    expect(page.locator("#status .workers")).to_have_attribute("title", "Xeon: 1\nH200: 2")


# ---------------------------------------------------------------------- languages


def test_the_language_is_the_browsers_or_the_chosen_one(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/", locale="es-MX")
    choose(page, SEVEN)
    page.get_by_role("button", name="Clasificar").click()
    expect(page.locator(".answer .passed").first).to_have_text("aceptada, umbral 50%")
    assert page.locator("html").get_attribute("lang") == "es"
    page.click("#add")
    expect(page.get_by_role("button", name="Región 1: x 100, y 60, lado 120")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("button", name="Region 1: x 100")).to_be_visible()
    expect(page.locator(".answer .passed").first).to_have_text("accepted, above 50%")
    page.reload()
    expect(page.locator(".lead")).to_have_text("Drop an image here")


# ---------------------------------------------------------------------- keys


@pytest.fixture(scope="module")
def guarded(stack: Stack) -> Iterator[str]:
    """The URL of a second gateway, which requires API keys and expects regions as y,x,side."""
    port = free_port()
    environ = {
        "SERVER_PORT": str(port),
        "API_KEYS": f"page:{KEY}",
        "REGION_ORDER": "yx",
        "RATE_LIMIT": "9/minute",
    }
    gateway = stack.start(
        "guarded", "gunicorn", "-c", "python:gateway.gunicorn_conf", "gateway.app:create_app()", **environ
    )
    url = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        try:
            return requests.get(f"{url}/health/ready", timeout=5).ok
        except requests.RequestException:
            return False

    eventually(is_up, 30, "gateway up")
    yield url
    gateway.terminate()
    gateway.wait(20)


def test_the_page_requests_a_key_and_keeps_it_in_the_tab(visitor: Visitor, guarded: str) -> None:
    page = visitor.open(f"{guarded}/")
    expect(page.get_by_role("alert")).to_contain_text("API key: expected a key of this server, got none")
    expect(page.locator("#span")).to_have_text("No figures without an API key")
    field = page.get_by_label("This server requires an API key")
    field.fill("a-key-that-is-wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("expected a key of this server, got an unknown key")
    field.fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#model")).to_contain_text("20 classes")
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#choose")).to_be_focused()  # the key's field is hidden now
    choose(page, SCENE)
    draw(page, *THREE[1])
    classify(page)
    assert best(page) == ["Digitus septem niger"]
    assert next(iter(by_curl(page)[0])) == "Digitus septem niger"  # the command has its regions as y,x,side
    assert KEY not in page.content()
    stored = page.evaluate("[Object.values(localStorage), Object.values(sessionStorage), document.cookie]")
    assert stored == [[], [KEY], ""]


# ---------------------------------------------------------------------- phones and accessibility


def test_on_a_phone_the_page_fits_and_a_finger_draws(visitor: Visitor, stack: Stack) -> None:
    page = visitor.open(f"{stack.url}/", **PHONE)
    expect(page.get_by_role("button", name="Take a photo")).to_be_visible()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    assert fits(page)
    choose(page, SCENE)
    finger(page, (260, 260), (40, 40))  # upwards, which scrolls anywhere else on the page
    assert nearly(squares(page), [THREE[0]], by=4)
    page.check("#consolidate")
    page.click("#classify")  # Chromium ignores a tap this soon after a drag
    expect(page.locator(".species")).to_be_visible()
    assert best(page) == ["Digitus septem albus"]
    assert fits(page)


LABELS_DO_NOT_OVERLAP = """
[...document.querySelectorAll("#status > div")].every((tile) => {
  const label = document.createRange();
  label.selectNodeContents(tile.querySelector("dt"));
  const highest = tile.querySelector("small");
  return !highest.textContent || label.getBoundingClientRect().right < highest.getBoundingClientRect().left;
})
"""


def test_on_a_phone_the_labels_of_the_status_strip_do_not_overlap(visitor: Visitor, stack: Stack) -> None:
    page = visitor.browser.new_context(**PHONE | {"locale": "es-MX"}).new_page()
    visitor.pages.append(page)
    counts = itertools.count(1)
    page.route("**/status", lambda route: route.fulfill(json=grown(next(counts))))
    page.goto(f"{stack.url}/")
    expect(page.locator("#status .answered small")).to_have_text("máx. 888 ms")
    assert page.evaluate(LABELS_DO_NOT_OVERLAP)


def grown(times: int) -> dict[str, Any]:
    """A response of `/status` with large counters, which grow with `times`."""
    status = counters(888, 8888 * times, 100 * times, 0, 0, 0, 0)
    return status | {"answers": [{"within": 0.888, "jobs": 0}, {"within": None, "jobs": times}]}


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def finger(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag a finger over the image, with touch events from the browser itself."""
    page.locator("#frame").scroll_into_view_if_needed()
    touches = page.context.new_cdp_session(page)
    for part in range(6):
        x, y = on_screen(page, *(a + (b - a) * part / 5 for a, b in zip(start, end, strict=True)))
        kind = "touchMove" if part else "touchStart"
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(visitor: Visitor, stack: Stack, scheme: str) -> None:
    """axe-core's rules, including contrast, hold for the empty page, with results and with an error."""
    page = visitor.open(f"{stack.url}/", color_scheme=scheme, reduced_motion="reduce")
    assert axe(page) == []
    choose(page, SCENE)
    draw(page, *THREE[0])
    page.check("#consolidate")
    classify(page)
    assert axe(page) == []
    choose(page, ("damaged.jpg", SEVEN.read_bytes()[:900]))
    page.click("#classify")
    expect(page.get_by_role("alert")).to_be_visible()
    assert axe(page) == []


def axe(page: Page) -> list[str]:
    found = Axe().run(page, options=AXE_RULES).response["violations"]
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]
