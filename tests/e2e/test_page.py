"""The page, in a real browser: Debian's Chromium, headless."""

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


class Reader:
    """Opens the page as a person would, and notes what should never happen."""

    def __init__(self, browser: Browser) -> None:
        self.browser, self.faults, self.pages = browser, [], []

    def open(self, url: str, **options: Any) -> Page:
        page = self.browser.new_context(**DESKTOP | options).new_page()
        self.pages.append(page)
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: self.faults.append(f"an error: {error}"))
        page.on("console", lambda message: self.listen(message.type, message.text))
        page.on("request", lambda request: self.look(request.url, url))
        page.goto(url)
        return page

    def listen(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.faults.append(text)  # among them what the Content-Security-Policy refuses

    def look(self, asked: str, url: str) -> None:
        if not asked.startswith((url, f"blob:{url}")):
            self.faults.append(f"asked elsewhere: {asked}")

    def close(self) -> None:
        for page in self.pages:
            page.context.close()


@pytest.fixture
def reader(browser: Browser) -> Iterator[Reader]:
    reader = Reader(browser)
    yield reader
    reader.close()
    assert reader.faults == []


def choose(page: Page, picture: Path | tuple[str, bytes]) -> None:
    name, data = (picture.name, picture.read_bytes()) if isinstance(picture, Path) else picture
    page.set_input_files("#file", {"name": name, "mimeType": "image/jpeg", "buffer": data})
    expect(page.locator("#options")).to_be_visible()


def draw(page: Page, x: int, y: int, side: int) -> None:
    """Draw a square with the mouse, in pixels of the picture; the press is its first corner."""
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


def about(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]], by: int = 2) -> bool:
    """Whether they are equal but for what the screen rounds."""
    pairs = [pair for one, other in zip(found, wanted, strict=True) for pair in zip(one, other, strict=True)]
    return all(abs(a - b) <= by for a, b in pairs)


def classify(page: Page) -> None:
    page.click("#classify")
    expect(page.locator(".answer").first).to_be_visible()


def best(page: Page) -> list[str]:
    return page.locator(".answer li:first-child .class").all_inner_texts()


def by_curl(page: Page) -> Any:
    """What the command that the page shows answers."""
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


# ---------------------------------------------------------------------- answers


def test_a_picture_is_answered_with_bars_thresholds_and_the_same_by_curl(
    reader: Reader, stack: Stack
) -> None:
    page = reader.open(f"{stack.url}/")
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
    assert rows.locator(".passed").all_inner_texts() == ["passes 50%", "below 50%"]
    assert [row.get_attribute("class") for row in rows.all()] == ["accepted", "refused"]
    assert [mark.evaluate("each => each.style.left") for mark in rows.locator(".mark").all()] == ["50%"] * 2
    fill = rows.locator(".fill").first.evaluate("each => parseFloat(each.style.width)")
    assert 99 < fill <= 100
    assert "Digitus septem albus" in page.locator("#told").inner_text()
    assert near(by_curl(page), stack.classify(SEVEN, top_n=2).json())


def test_drawn_regions_are_answered_one_by_one_and_merged(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
    choose(page, SCENE)
    for region in THREE:
        draw(page, *region)
    assert about(squares(page), THREE)
    classify(page)
    assert best(page) == ["Digitus septem albus", "Digitus septem niger", "Digitus duo albus"]
    assert [next(iter(region)) for region in by_curl(page)] == best(page)
    page.check("#consolidate")
    expect(page.locator("#stale")).to_be_visible()  # what is shown was asked without it
    page.click("#classify")
    expect(page.locator(".species strong")).to_have_text("Digitus septem")
    expect(page.locator(".species .hint")).to_contain_text("Digitus duo")
    expect(page.locator("#stale")).to_be_hidden()
    assert [name for name, _ in by_curl(page)] == ["Digitus septem", "Digitus duo"]


def test_where_no_species_is_accepted_that_is_said(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
    choose(page, SEVEN)
    draw(page, 40, 40, 120)
    page.check("#consolidate")
    classify(page)
    expect(page.locator(".species")).to_contain_text("Especie desconocida")
    expect(page.locator(".species")).to_contain_text("no answer passed its threshold")


def test_regions_are_those_of_the_upright_picture(reader: Reader, stack: Stack) -> None:
    """A phone stores a picture as its sensor lies, and how to turn it."""
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.open(SCENE).transpose(Image.Transpose.ROTATE_90).save(turned, "JPEG", quality=95, exif=exif)
    page = reader.open(f"{stack.url}/")
    choose(page, ("turned.jpg", turned.getvalue()))
    expect(page.locator("#name")).to_contain_text("640×480")
    draw(page, *THREE[1])
    classify(page)
    assert best(page) == ["Digitus septem niger"]


# ---------------------------------------------------------------------- regions


def test_a_region_is_moved_resized_and_removed_by_mouse(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
    choose(page, SCENE)
    drag(page, (260, 260), (40, 40))  # from its lower right corner
    assert about(squares(page), [(40, 40, 220)])
    drag(page, (150, 150), (170, 140))
    assert about(squares(page), [(60, 30, 220)])
    drag(page, (280, 250), (180, 150))  # the lower right handle
    assert about(squares(page), [(60, 30, 120)])
    drag(page, (120, 90), (-500, -500))  # it stays inside
    assert squares(page)[0][:2] == (0, 0)
    drag(page, (400, 300), (402, 301))  # a click is no region
    assert len(squares(page)) == 1
    page.get_by_role("button", name="Remove region 1").click()
    assert squares(page) == [] and "regions" not in page.locator("#curl").inner_text()


def test_a_region_is_made_moved_resized_and_removed_by_keys(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
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
    assert squares(page) == [(0, 140, 250)]  # it stays inside
    page.keyboard.press("Delete")
    assert squares(page) == []
    expect(page.locator("#add")).to_be_focused()
    expect(page.locator("#told")).to_have_text("Region 1 removed")


def test_a_region_is_set_by_its_numbers(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
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
    expect(page.get_by_role("button", name="Remove all")).to_be_hidden()  # one has its own
    page.click("#add")
    page.get_by_role("button", name="Remove all").click()
    assert squares(page) == [] and page.locator(".region").count() == 0
    assert "regions" not in page.locator("#curl").inner_text()


def test_all_of_it_is_done_by_keys_alone(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
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
    page.keyboard.press("Enter")  # asks nothing again
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
    """Press a key until the focus is there."""
    for _ in range(20):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not lead to {name}")


# ---------------------------------------------------------------------- pictures

HAND_OVER = """
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
def test_a_picture_may_be_dropped_or_pasted(reader: Reader, stack: Stack, kind: str) -> None:
    page = reader.open(f"{stack.url}/")
    page.route("**/picture.jpg", lambda route: route.fulfill(body=SEVEN.read_bytes()))
    page.evaluate(HAND_OVER, [kind, "image/jpeg", "picture.jpg"])
    classify(page)
    assert best(page) == ["Digitus septem albus"]


def test_another_file_is_told_to_be_none(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
    page.evaluate(HAND_OVER, ["drop", "text/plain", "health/live"])
    expect(page.get_by_role("alert")).to_have_text("That is no picture.")


@pytest.mark.parametrize("name", ["a;b.jpg", "a,b.jpg", 'it\'s "new" \\ ñ.jpg', "$(date) `x`.jpg"])
def test_the_command_quotes_any_name(reader: Reader, stack: Stack, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SEVEN.read_bytes())
    page = reader.open(f"{stack.url}/")
    choose(page, tmp_path / name)
    line = page.locator("#curl").inner_text()
    done = subprocess.run(
        f"{line} -sS", shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert "Digitus septem albus" in json.loads(done.stdout)[0], done.stdout


# ---------------------------------------------------------------------- what goes wrong


def test_an_error_is_told_as_the_server_words_it(reader: Reader, stack: Stack) -> None:
    damaged = SEVEN.read_bytes()[:900]
    words = stack.classify(damaged).json()["detail"]
    page = reader.open(f"{stack.url}/")
    choose(page, ("damaged.jpg", damaged))
    page.click("#classify")
    expect(page.get_by_role("alert")).to_have_text(words)
    assert page.get_by_role("alert").get_attribute("lang") == "en"
    choose(page, SEVEN)  # and all is well again
    expect(page.locator("#problem")).to_be_hidden()
    classify(page)


def test_a_job_waits_with_its_place_and_can_be_canceled(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
    choose(page, SEVEN)
    stack.valkey.client.set("rq:suspended", "1")  # as `rq suspend` does
    try:
        page.wait_for_timeout(1500)  # a worker that waits for work looks again after a second at most
        page.click("#classify")
        expect(page.locator("#waiting")).to_contain_text("Number 1 in the line")
        expect(page.get_by_role("status")).to_contain_text("Number 1 in the line")
        page.focus("#cancel")
        page.keyboard.press("Enter")
        expect(page.locator("#wait")).to_be_hidden()
        expect(page.locator("#nothing")).to_have_text("Canceled.")
        expect(page.get_by_role("status")).to_have_text("Canceled.")
        expect(page.locator("#classify")).to_be_focused()  # as its button has gone
        eventually(lambda: stack.valkey.client.llen("rq:queue:interactive") == 0, 5, "it is canceled")
    finally:
        stack.valkey.client.delete("rq:suspended")
    classify(page)


def test_without_the_server_it_says_so_and_goes_on_when_it_is_back(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
    choose(page, SEVEN)
    expect(page.locator("#span")).to_contain_text("The last three minutes")
    page.route("**/status", lambda route: route.abort())
    page.route("**/classify", lambda route: route.abort())
    expect(page.locator("#span")).to_contain_text("No figures")
    page.click("#classify")
    expect(page.get_by_role("alert")).to_contain_text("The server can't be reached")
    page.unroute_all()
    classify(page)
    expect(page.locator("#span")).to_contain_text("The last three minutes")


@pytest.mark.parametrize("status", [429, 502, 503, 504, None])
def test_an_answer_survives_a_question_for_it_that_fails(
    reader: Reader, stack: Stack, status: int | None
) -> None:
    page, polls = reader.open(f"{stack.url}/"), []

    def fail(route: Route) -> None:
        polls.append(route.request.url)
        route.abort() if status is None else route.fulfill(status=status, headers={"Retry-After": "1"})

    page.route("**/jobs/*", fail, times=2)
    choose(page, SEVEN)
    page.click("#classify")
    expect(page.locator("#waiting")).to_contain_text("is asked again")
    expect(page.locator(".answer").first).to_be_visible()
    assert best(page) == ["Digitus septem albus"] and len(set(polls)) == 1
    expect(page.locator("#problem")).to_be_hidden()


def test_what_would_take_too_long_is_told_and_a_pause_can_be_canceled(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
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
    expect(page.locator("#waiting")).to_contain_text("is asked again")
    page.click("#cancel")
    expect(page.locator("#wait")).to_be_hidden()
    expect(page.locator("#problem")).to_be_hidden()


def test_a_long_wait_takes_few_questions(reader: Reader, stack: Stack) -> None:
    """Each counts against the reader's RATE_LIMIT."""
    page, waits = reader.open(f"{stack.url}/"), []

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


# ---------------------------------------------------------------------- how the service does


def test_the_strip_tells_what_the_service_does(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/")
    figure = {
        name: page.locator(f"#status .{name} strong")
        for name in ("workers", "waiting", "rate", "batch", "answered")
    }
    expect(figure["workers"]).to_have_text("1")
    expect(figure["waiting"]).to_have_text("0")
    # From the second look on; what other tests asked may be told late.
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


def figures(waiting: int, inputs: int, batches: int, *answers: int) -> dict[str, Any]:
    """What `/status` tells, with the answers' counts by `BOUNDS`."""
    return {
        "workers": 3,
        "waiting": {"interactive": 1, "bulk": waiting - 1},
        "running": {"interactive": 0, "bulk": 0},
        "inputs": inputs,
        "batches": batches,
        "answers": [{"within": within, "jobs": n} for within, n in zip(BOUNDS, answers, strict=True)],
    }


# Every two seconds: what is told, and the rate, mean batch and 95 % that are shown.
SAMPLES = [
    (figures(1, 100, 10, 5, 0, 0, 0), "–, –, –"),  # one sample is no rate
    (figures(2, 140, 14, 15, 9, 1, 0), "20, 10, 10 ms"),  # 40 in 2 s, in 4 runs; 19 of 20 within 10 ms
    (figures(3, 140, 14, 15, 9, 1, 0), "10, 10, 10 ms"),  # 40 in 4 s
    (figures(4, 142, 15, 15, 9, 1, 0), "7, 8.4, 10 ms"),  # 42 in 6 s, in 5 runs
    (figures(5, 160, 20, 15, 9, 1, 30), "7.5, 6, 25 ms"),  # beyond all bounds, of which the last is told
    (figures(6, 7, 2, 1, 0, 0, 0), "–, –, –"),  # Redis lost its data
    (figures(7, 10, 4, 1, 4, 0, 0), "1.5, 1.5, 10 ms"),  # 3.8 of 4 lie evenly from 5 to 10: 9.75
    (figures(8, 18, 6, 1, 4, 8, 0), "2.8, 2.8, 24 ms"),  # 11.4 of 12: 7.4 of 8 from 10 to 25: 23.9
    *((figures(waiting, 18, 6, 1, 4, 8, 0), None) for waiting in range(9, 15)),
    (figures(15, 18, 6, 1, 4, 8, 0), "0, –, –"),  # nothing within the ten seconds
]


def test_the_strips_figures_are_what_the_samples_say(reader: Reader, stack: Stack) -> None:
    page = reader.browser.new_page(locale="en-GB")
    reader.pages.append(page)
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    script = iter([sample for sample, _ in SAMPLES])
    page.route("**/status", lambda route: route.fulfill(json=next(script)))
    page.goto(f"{stack.url}/")
    for waiting, (_, told) in enumerate(SAMPLES, 1):
        page.clock.run_for(2000 if waiting > 1 else 0)
        expect(page.locator("#status .waiting strong")).to_have_text(str(waiting))
        if told:
            assert page.locator("#status strong").all_inner_texts() == ["3", str(waiting), *told.split(", ")]


# ---------------------------------------------------------------------- languages


def test_it_speaks_the_browsers_language_or_the_chosen_one(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/", locale="es-MX")
    choose(page, SEVEN)
    page.get_by_role("button", name="Clasificar").click()
    expect(page.locator(".answer .passed").first).to_have_text("supera 50 %")
    assert page.locator("html").get_attribute("lang") == "es"
    page.click("#add")
    expect(page.get_by_role("button", name="Región 1: x 100, y 60, lado 120")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("button", name="Region 1: x 100")).to_be_visible()
    expect(page.locator(".answer .passed").first).to_have_text("passes 50%")
    page.reload()
    expect(page.locator(".lead")).to_have_text("Drop a picture here")


# ---------------------------------------------------------------------- keys


@pytest.fixture(scope="module")
def guarded(stack: Stack) -> Iterator[str]:
    """Another gateway of the same service, which asks for keys and takes regions as y,x,side."""
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


def test_the_page_asks_for_a_key_and_keeps_it_for_the_tab(reader: Reader, guarded: str) -> None:
    page = reader.open(f"{guarded}/")
    expect(page.get_by_role("alert")).to_contain_text("API key: expected a key of this server, got none")
    expect(page.locator("#span")).to_have_text("No figures without a key")
    field = page.get_by_label("This server asks for an API key")
    field.fill("a-key-that-is-wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("expected a key of this server, got an unknown key")
    field.fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#model")).to_contain_text("20 classes")
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#choose")).to_be_focused()  # as the key's field has gone
    choose(page, SCENE)
    draw(page, *THREE[1])
    classify(page)
    assert best(page) == ["Digitus septem niger"]
    assert next(iter(by_curl(page)[0])) == "Digitus septem niger"  # its regions are y,x,side
    assert KEY not in page.content()
    kept = page.evaluate("[Object.values(localStorage), Object.values(sessionStorage), document.cookie]")
    assert kept == [[], [KEY], ""]


# ---------------------------------------------------------------------- everybody


def test_on_a_phone_nothing_is_wider_than_it_and_a_finger_draws(reader: Reader, stack: Stack) -> None:
    page = reader.open(f"{stack.url}/", **PHONE)
    expect(page.get_by_role("button", name="Take a photo")).to_be_visible()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    assert fits(page)
    choose(page, SCENE)
    finger(page, (260, 260), (40, 40))  # upwards, which elsewhere scrolls
    assert about(squares(page), [THREE[0]], by=4)
    page.check("#consolidate")
    page.click("#classify")  # a tap so soon after a drag is no tap to Chromium
    expect(page.locator(".species")).to_be_visible()
    assert best(page) == ["Digitus septem albus"]
    assert fits(page)


APART = """
[...document.querySelectorAll("#status > div")].every((tile) => {
  const words = document.createRange();
  words.selectNodeContents(tile.querySelector("dt"));
  const highest = tile.querySelector("small");
  return !highest.textContent || words.getBoundingClientRect().right < highest.getBoundingClientRect().left;
})
"""


def test_on_a_phone_the_strips_words_lie_beside_each_other(reader: Reader, stack: Stack) -> None:
    page = reader.browser.new_context(**PHONE | {"locale": "es-MX"}).new_page()
    reader.pages.append(page)
    counts = itertools.count(1)
    page.route("**/status", lambda route: route.fulfill(json=grown(next(counts))))
    page.goto(f"{stack.url}/")
    expect(page.locator("#status .answered small")).to_have_text("máx. 888 ms")
    assert page.evaluate(APART)


def grown(times: int) -> dict[str, Any]:
    told = figures(888, 8888 * times, 100 * times, 0, 0, 0, 0)
    return told | {"answers": [{"within": 0.888, "jobs": 0}, {"within": None, "jobs": times}]}


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def finger(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag a finger over the picture, as the browser itself would tell it."""
    page.locator("#frame").scroll_into_view_if_needed()
    touches = page.context.new_cdp_session(page)
    for part in range(6):
        x, y = on_screen(page, *(a + (b - a) * part / 5 for a, b in zip(start, end, strict=True)))
        kind = "touchMove" if part else "touchStart"
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_out(reader: Reader, stack: Stack, scheme: str) -> None:
    """By axe-core's rules, contrast among them: empty, with answers, and with an error."""
    page = reader.open(f"{stack.url}/", color_scheme=scheme, reduced_motion="reduce")
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
