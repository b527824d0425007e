"""report.html in a real browser, where one is installed: what is seen, what is pointed at, what stays inert."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from installed_browser import needs_a_browser

from imagen.evaluation.compare.report import as_html as as_comparison
from imagen.evaluation.compare.sides import Side, shared_cells
from imagen.evaluation.judges.metric import CHECKED_ALL
from imagen.evaluation.report.html import as_html
from imagen.evaluation.report.page.document import as_data, document
from imagen.evaluation.results.archive import Archive
from imagen.evaluation.results.cost import Cost
from imagen.evaluation.results.results import GROUND_TRUTH
from imagen.pictures import save_png

from .hand_made import ALIGN, COUNT, FD, made, scores

HOSTILE = (
    '<img src="https://example.com/x" onerror="window.ran=1">',
    "</script><script>window.ran=1</script>\u2028<!--<script>",
)
"""Captions that would run if the page took them for more than text."""
PATIENCE = 60_000  # milliseconds: the machine may be busy


def right(share):
    return (torch.arange(COUNT) < share * COUNT).double()


@pytest.fixture(scope="module")
def results():
    """Two curves at weights of their own, with pictures whose grey tells the weight."""
    curves = {
        "dynamic": {w: {ALIGN: scores(5 + w / 10), FD: scores(8 + w), CHECKED_ALL: right(w / 5)} for w in (1, 2, 4)},
        "static, <b>": {w: {ALIGN: scores(5 + w / 9), FD: scores(9 + w), CHECKED_ALL: right(w / 6)} for w in (1.5, 3)},
    }
    plain = made(curves)
    pictures = {
        one.cell.name: torch.full((2, 8, 8, 3), int(40 * one.cell.guidance_weight), dtype=torch.uint8)
        for one in plain.cells
    }
    pictures[GROUND_TRUTH] = torch.full((2, 8, 8, 3), 250, dtype=torch.uint8)
    return made(curves, pictures, HOSTILE)


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    """The file, as one would mail it; its plot without scripts is a small picture."""
    folder = tmp_path_factory.mktemp("page")
    save_png(np.zeros((4, 4, 3), np.uint8), folder / "pareto.png", {})
    path = folder / "report.html"
    path.write_text(as_html(results, ["- `fd[j]`: few"], ["agreement"], folder), encoding="utf-8")
    return path


class Visit:
    """A page with what it asked for and what it complained of."""

    def __init__(self, browser, path, width=1280, **context):
        self.page = browser.new_page(viewport={"width": width, "height": 900}, **context)
        self.asked, self.complaints = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type != "log" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(path.as_uri())

    def check(self, path):
        """Nothing was asked for but the file and what is inside, nothing ran, nothing is cut, nothing went wrong."""
        assert {url for url in self.asked if not url.startswith("data:")} == {path.as_uri()}
        assert self.page.evaluate("window.ran") is None
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert self.complaints == []
        self.page.close()

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def wait_for(self, weight):
        self.page.locator("#chosen").get_by_text(f"w = {weight}", exact=True).wait_for()

    def point_at(self, curve, point, weight):
        """Plotly listens to a moving pointer, a few times a second, and not while it draws."""
        x, y = self.centre(curve, point)
        for step in range(100):
            self.page.mouse.move(x + step % 2, y)
            if self.text("#chosen") == f"w = {weight}":
                break
            self.page.wait_for_timeout(60)
        self.wait_for(weight)

    def centre(self, curve, point):
        self.page.locator("#plot").scroll_into_view_if_needed()
        box = self.page.locator("#plot .trace").nth(curve).locator(".points path").nth(point).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def greys(self):
        """The grey of each picture shown, row by row."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll("#pictures img")].map(image => {
                 const canvas = document.createElement("canvas").getContext("2d");
                 canvas.drawImage(image, 0, 0);
                 return canvas.getImageData(0, 0, 1, 1).data[0];
               })"""
        )


@needs_a_browser
def test_a_weight_that_the_pointer_or_the_slider_is_at_shows_its_pictures_and_numbers(browser, page, results):
    visit = Visit(browser, page)
    visit.wait_for("4")  # the best by alignment
    visit.point_at(0, 0, "1")
    assert visit.greys() == [250, 40, 250, 40]
    visit.point_at(0, 2, "4")
    assert visit.greys() == [250, 160, 250, 160]  # the real picture, that of the weight
    assert "5.4 [5.26, 5.54]" in visit.text("#numbers")
    assert [visit.page.locator("#pictures tbody th").nth(i).text_content() for i in range(2)] == list(HOSTILE)
    visit.point_at(1, 0, "1.5")
    assert visit.page.locator("#curve option:checked").inner_text() == "static, <b>"
    assert visit.greys() == [250, 60, 250, 60]
    assert visit.page.locator("#static").is_hidden()
    visit.page.locator("#curve").select_option("dynamic")
    visit.wait_for("1")  # the nearest that it has, the lower one of two
    visit.page.locator("#weight").focus()
    visit.page.keyboard.press("ArrowRight")
    visit.wait_for("2")
    assert visit.greys() == [250, 80, 250, 80]
    visit.page.keyboard.press("End")
    visit.wait_for("4")
    visit.check(page)


@needs_a_browser
def test_curves_are_turned_off_and_on_and_the_axes_chosen(browser, page):
    visit = Visit(browser, page)
    lines = visit.page.locator("#plot .trace .js-line")
    assert lines.count() == 2
    static = visit.page.locator("#curves").get_by_label("static, <b>")
    static.uncheck()
    assert lines.count() == 1
    static.check()
    assert lines.count() == 2
    assert visit.page.locator("#plot .errorbar path").count() == 10  # five points, each across and up
    visit.page.get_by_label("intervals").uncheck()
    assert visit.page.locator("#plot .errorbar path").count() == 0
    assert visit.page.locator("#plot .xtitle").text_content() == "align[j] (higher is better)"
    visit.page.locator("#axes").select_option("checker[all] by weight")
    assert visit.page.locator("#plot .ytitle").text_content() == "checker[all] (higher is better)"
    assert [tick.text_content() for tick in visit.page.locator("#plot .xtick text").all()] == [
        "1",
        "1.5",
        "2",
        "3",
        "4",
    ]
    visit.check(page)


@needs_a_browser
def test_numbers_are_shown_against_what_a_picture_costs_on_a_logarithmic_axis(browser, results, tmp_path):
    seconds = {"dynamic": 0.1, "static, <b>": 3.0}
    cells = [
        replace(one, cost=Cost(seconds[one.cell.curve] * one.cell.guidance_weight, {"base": 8}, [("cpu", 1)]))
        for one in results.cells
    ]
    path = tmp_path / "report.html"
    path.write_text(as_html(replace(results, cells=cells), ["few"], ["agreement"], tmp_path), encoding="utf-8")
    visit = Visit(browser, path)
    visit.page.locator("#axes").select_option("fd[j] against seconds per picture")
    assert visit.page.locator("#plot .xtitle").text_content() == "seconds per picture (lower is better)"
    ticks = visit.page.locator("#plot .xtick text")
    shown = "0.1 0.15 0.2 0.3 0.5 0.7 1 1.5 2 3 5 7"
    assert [tick.text_content() for tick in ticks.all()] == shown.split()
    across = [tick.bounding_box()["x"] for tick in ticks.all()]
    assert abs((across[6] - across[0]) - 3.32 * (across[2] - across[0])) < 20  # a decade, and a factor of two
    visit.point_at(0, 2, "4")
    assert "seconds per picture\t0.4" in visit.text("#numbers")
    paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    filled = "[...document.querySelectorAll('#plot .points path')].map(one => getComputedStyle(one).fill)"
    assert [fill == paper for fill in visit.page.evaluate(filled)][:5] == [False, True, True, True, True]  # dominated
    visit.page.locator("#axes").select_option("align[j] against network passes per picture")
    assert visit.page.locator("#plot .xtitle").text_content() == "network passes per picture (lower is better)"
    visit.check(path)


@needs_a_browser
def test_on_a_narrow_dark_screen_nothing_is_cut_and_a_tap_points(browser, page):
    visit = Visit(browser, page, width=400, color_scheme="dark", has_touch=True, is_mobile=True)
    for fold in visit.page.locator("details").all():
        fold.evaluate("fold => { fold.open = true }")
    x, y = visit.centre(0, 1)
    visit.page.touchscreen.tap(x, y)
    visit.wait_for("2")
    paper = "getComputedStyle(document.body).backgroundColor"
    plot = "getComputedStyle(document.querySelector('#plot .main-svg')).backgroundColor"
    dark = visit.page.evaluate(paper)
    assert dark == visit.page.evaluate(plot) == "rgb(21, 24, 28)"
    visit.page.locator("#theme").click()
    assert visit.page.evaluate(paper) == visit.page.evaluate(plot) == "rgb(255, 255, 255)"
    visit.check(page)


@needs_a_browser
def test_without_scripts_the_plot_is_a_picture_and_all_tables_are_there(browser, page):
    visit = Visit(browser, page, java_script_enabled=False)
    assert visit.page.locator("#static img").is_visible()
    assert visit.page.locator("#explorer").is_hidden()
    assert "5.4 [5.26, 5.54]" in visit.page.locator("table", has_text="w = 4").first.text_content()
    visit.page.close()


@needs_a_browser
def test_scripts_that_got_into_a_page_do_not_run_and_nothing_is_fetched(browser, tmp_path):
    path = tmp_path / "page.html"
    parts = [
        "<script>window.ran = 1</script>",
        '<img src="https://example.com/x" onerror="window.ran = 2"><a href="javascript:window.ran = 3">a</a>',
        '<iframe src="https://example.com"></iframe><link rel="stylesheet" href="https://example.com/y">',
    ]
    path.write_text(document("t", parts), encoding="utf-8")
    visit = Visit(browser, path)
    visit.page.locator("a").click()
    assert visit.page.evaluate("window.ran") is None
    assert "Content Security Policy" in " ".join(visit.complaints)
    visit.page.close()


@needs_a_browser
@pytest.mark.parametrize("numbers", [{ALIGN: 5.0}, {}], ids=["one number", "none"])
def test_a_page_with_one_number_or_none_and_no_pictures_works_too(browser, numbers, tmp_path):
    """As one picture gives them: no intervals, no distance, no checker, no curve to draw."""
    path = tmp_path / "report.html"
    path.write_text(as_html(made({"dynamic": {0: numbers}}), ["few"], ["agreement"], tmp_path), encoding="utf-8")
    visit = Visit(browser, path)
    if numbers:
        assert visit.text("#chosen") == "w = 0"
        assert visit.page.locator("#plot .ytitle").text_content() == "align[j] (higher is better)"
    assert visit.page.locator("#pictures img").count() == 0
    visit.check(path)


def side(name, grey, results):
    """The evaluation `results` of a model whose pictures are all of one grey."""
    cells = [
        {"curve": one.cell.curve, "guidance_weight": one.cell.guidance_weight, "pictures": COUNT,
         "metrics": one.metrics, "intervals": {key: asdict(interval) for key, interval in one.intervals.items()}}
        for one in results.cells
    ]  # fmt: skip
    names = [one.cell.name for one in results.cells]
    pictures = {name: torch.full((2, 8, 8, 3), grey, dtype=torch.uint8) for name in names}
    known = {"cells": cells, "controls": {}, "pictures_per_cell": COUNT, "resolution": 8}
    metrics = {"metrics": [asdict(metric) for metric in results.metrics.values()]}
    jackknives = {one.cell.name: one.jackknives for one in results.cells}
    return Side(name, known | metrics, Archive(list(HOSTILE), [None, None], names, pictures, jackknives))


@needs_a_browser
def test_a_comparison_shows_both_models_at_the_weight_that_is_pointed_at(browser, results, tmp_path):
    one, other = side("one", 30, results), side("<i>other", 60, results)
    path = tmp_path / "compare.html"
    path.write_text(as_comparison(one, other, shared_cells(one, other), tmp_path), encoding="utf-8")
    visit = Visit(browser, path)
    visit.point_at(1, 0, "1.5")  # the first model's second curve, under the other's
    heads = [head.inner_text() for head in visit.page.locator("#pictures thead th").all()]
    assert heads[1:] == ["A, w = 1.5", "B, w = 1.5"]
    assert visit.greys() == [30, 60, 30, 60]
    assert re.search(r"align\[j\].*\+0\s+\[\+0, \+0\]", visit.text("#numbers"), re.DOTALL)
    assert "B: <i>other, dynamic" in visit.text("#curves")
    visit.check(path)


def test_data_cannot_end_its_element():
    text = as_data({"a": [*HOSTILE, "\ud800"]})
    assert not set("<>&\u2028") & set(text)
    assert text.isascii()
