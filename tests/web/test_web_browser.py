"""The page in a real browser, where one is installed: what is clicked, what is loaded, what is seen."""

from io import BytesIO
from urllib.parse import urlsplit

import numpy as np
import pytest
from installed_browser import needs_a_browser
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    needs_a_browser,
]

SECONDS = 120_000  # milliseconds: the machine may be busy
MADE = "#canvas img[src*='file=']"


class Visit:
    """A page with what it asked for and what it complained of."""

    def __init__(self, browser, url, width=1280):
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_default_timeout(SECONDS)
        self.page.goto(url)
        self.page.get_by_label("Cascade").wait_for()

    def check(self):
        hosts = {urlsplit(url).hostname for url in self.asked if url.startswith(("http", "ws"))}
        assert hosts == {"127.0.0.1"}
        assert self.complaints == []
        self.page.close()

    def set_steps(self, steps=2):
        self.page.get_by_text("Sampling", exact=True).click()
        for field in self.page.get_by_label("Steps").all():
            field.fill(str(steps))


@pytest.mark.parametrize("width", [1280, 400])
def test_a_prompt_becomes_a_picture_and_nothing_is_cut(browser, server, width, tmp_path):
    visit = Visit(browser, server.url, width)
    visit.set_steps()
    visit.page.locator("#prompts textarea").fill("a green ring")
    visit.page.locator("#make").click()
    picture = visit.page.locator(MADE)
    picture.wait_for()
    assert "green ring" in visit.page.locator("#canvas figcaption").inner_text()
    assert "a green ring" in visit.page.locator("#command textarea").input_value()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
    assert picture.bounding_box()["width"] > 200
    visit.page.locator("#history img").first.wait_for()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.page.screenshot(path=tmp_path / "page.png", full_page=True)
    visit.check()


def test_a_row_of_weights_is_a_row_with_labels(browser, server):
    visit = Visit(browser, server.url)
    visit.set_steps()
    visit.page.locator("#weights textarea, #weights input").fill("1, 2, 3")
    visit.page.locator("#row").click()
    visit.page.locator(MADE).nth(2).wait_for()
    boxes = [one.bounding_box() for one in visit.page.locator(MADE).all()]
    assert len({box["y"] for box in boxes}) == 1
    labels = [label.inner_text() for label in visit.page.locator("#canvas figcaption b").all()]
    assert labels == ["w = 1", "w = 2", "w = 3"]
    visit.check()


def test_a_mistake_is_told_on_the_page(browser, server):
    visit = Visit(browser, server.url)
    visit.page.locator("#prompts textarea").fill("")
    visit.page.locator("#make").click()
    visit.page.get_by_text("there is no prompt: write at least one, one a line").wait_for()
    visit.page.close()


def test_a_picture_of_the_history_is_painted_on_and_the_rest_of_it_stays(browser, server, tmp_path):
    visit = Visit(browser, server.url)
    visit.set_steps()
    visit.page.locator("#prompts textarea").fill("a blue square")
    visit.page.locator("#make").click()
    visit.page.locator(MADE).wait_for()
    before = newest(server)
    visit.page.locator("#history button img").first.click()
    visit.page.get_by_text("Paint on it").click()
    paint(visit)
    visit.page.screenshot(path=tmp_path / "painting.png", full_page=True)
    visit.page.locator("#prompts textarea").fill("a red circle")
    visit.page.locator("#make").click()
    visit.page.wait_for_function(
        "() => document.querySelector('#command textarea').value.includes('mask=')", timeout=SECONDS
    )
    changed = (newest(server) != before).any(axis=2)
    assert 0 < changed.sum() < changed.size / 2
    visit.check()


def paint(visit):
    """A stroke of the brush, again until it is seen: the editor takes none before it has drawn itself."""
    canvas = visit.page.locator("#painting canvas").first
    canvas.wait_for()
    for _ in range(60):
        before = settled(visit, canvas)
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        visit.page.mouse.move(x, y)
        visit.page.mouse.down()
        visit.page.mouse.move(x + 20, y, steps=4)
        visit.page.mouse.up()
        visit.page.mouse.move(0, 0)  # the editor draws a cursor
        if settled(visit, canvas) != before:
            return
    raise AssertionError("no stroke was drawn")


def settled(visit, canvas):
    """What the canvas shows once it shows a picture and nothing changes any more."""
    shown = b""
    for _ in range(120):
        visit.page.wait_for_timeout(500)
        before, shown = shown, canvas.screenshot()
        colours = np.unique(np.asarray(Image.open(BytesIO(shown)).convert("RGB")).reshape(-1, 3), axis=0)
        if shown == before and len(colours) > 100:
            return shown
    raise AssertionError(f"the editor still changes, or shows {len(colours)} colours")


def newest(server):
    path = max(server.outputs.glob("*/made.json"), key=lambda it: it.stat().st_mtime_ns).parent / "00000.png"
    return np.asarray(Image.open(path)).copy()
