"""The page of a report in a real browser: nothing on the console, nothing loaded, nothing wider than the screen."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.page.facts import PageFacts, SpaceChange
from spark_jobs.page.render import render_page
from tests.support.page_facts import AT, page_facts, vector_map

pytestmark = pytest.mark.jobs

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Scrolls to the first point of the map, and says where in the window it is then.
POINT = """() => {
    const chart = document.querySelector("[data-chart=map]"), view = chart.view.view;
    const drawing = chart.querySelector("svg, canvas"), point = view.data("rows")[0];
    const x = view.scale("x")(point.x) + view.padding().left, y = view.scale("y")(point.y) + view.padding().top;
    scrollTo({ top: scrollY + drawing.getBoundingClientRect().y + y - innerHeight / 2, behavior: "instant" });
    const box = drawing.getBoundingClientRect();
    return [box.x + x, box.y + y];
}"""
SCREENS = {"phone": (390, 844), "desktop": (1280, 900)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine: install Debian's package of that name")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        # Containers run as root, where chromium's own sandbox does not start.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Shown:
    """A page in a window of the browser, with what its console said and what it asked for."""

    def __init__(self, browser: Any, file: Path, screen: tuple[int, int], scheme: str = "light") -> None:
        width, height = screen
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_function("document.documentElement.dataset.drawn")

    def drawn(self) -> dict[str, int]:
        """Marks of each chart: elements of SVG, or 1 for a canvas that is not empty."""
        count = """chart => {
            const canvas = chart.querySelector("canvas");
            if (!canvas) return chart.querySelectorAll("svg :is(.mark-rect, .mark-line, .mark-symbol) path").length;
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return data.some(value => value !== 0) ? 1 : 0;
        }"""
        charts = self.page.query_selector_all("[data-chart]")
        return {str(chart.get_attribute("data-chart")): int(chart.evaluate(count)) for chart in charts}

    def widths(self) -> tuple[int, int]:
        return self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")


def written(facts: PageFacts, folder: Path) -> Path:
    file = folder / "report.html"
    file.write_text(render_page(facts), encoding="utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_everything_is_drawn_and_nothing_is_said(browser: Any, tmp_path: Path, screen: str, scheme: str) -> None:
    shown = Shown(browser, written(page_facts(), tmp_path), SCREENS[screen], scheme)
    assert shown.said == []
    assert [url for url in shown.asked if not url.startswith(("file:", "data:"))] == []
    marks = shown.drawn()
    assert set(marks) == {
        *("lengths", "map", "steps", "throughput", "padding", "slices", "costs"),
        *("estimated-tokens", "estimated-seconds", "quality", "calibration"),
    }
    assert min(marks.values()) > 0, marks
    width, window = shown.widths()
    assert width == window
    paper = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(246, 247, 249)", "dark": "rgb(15, 19, 25)"}[scheme]


def test_charts_follow_when_the_colors_change(browser: Any, tmp_path: Path) -> None:
    shown = Shown(browser, written(page_facts(runs=3, points=20), tmp_path), SCREENS["desktop"])
    bar = "document.querySelector('[data-chart=throughput] .mark-rect path').getAttribute('fill')"
    assert shown.page.evaluate(bar) == "#2f6fde"
    shown.page.emulate_media(color_scheme="dark")
    # Not by the page's own waiting, which evaluates text, as the page's policy forbids.
    deadline = time.monotonic() + 20
    while shown.page.evaluate(bar) != "#6d9dff" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert shown.page.evaluate(bar) == "#6d9dff"
    assert shown.said == []


@pytest.mark.parametrize("points", [40, 1_500])
def test_a_hostile_document_does_nothing_and_is_shown_as_it_is(browser: Any, tmp_path: Path, points: int) -> None:
    facts = page_facts(
        **{"runs": 2, "points": points, "map": vector_map(points, text=HOSTILE, id_=HOSTILE)},
        changes=[SpaceChange(HOSTILE, HOSTILE, AT, HOSTILE, {HOSTILE: 1.0})],
    )
    shown = Shown(browser, written(facts, tmp_path), SCREENS["desktop"])
    x, y = shown.page.evaluate(POINT)
    shown.page.mouse.move(x - 1, y)
    shown.page.mouse.move(x, y)
    tooltip = shown.page.locator("#vg-tooltip-element.visible")
    assert "<script>document.title='taken'</script>" in tooltip.inner_text()
    assert shown.page.title() == "python-docs · embedlake report"
    assert shown.said == []
    assert shown.page.locator("img").count() == 0


def test_an_empty_store_has_a_page_too(browser: Any, tmp_path: Path) -> None:
    facts = page_facts(**{"runs": 0, "spaces": (), "evaluations": (), "changes": (), "map": None, "calibration": None})
    shown = Shown(browser, written(facts, tmp_path), SCREENS["phone"])
    assert shown.said == [] and shown.widths()[0] == 390
