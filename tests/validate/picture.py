"""Draws `docs/report.webp`, the picture of a report, of a made-up library: `make picture`."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image
from playwright.sync_api import sync_playwright

from spark_jobs.page.render import render_page
from tests.support.page_facts import page_facts
from tests.support.paths import ROOT

OUT = ROOT / "docs" / "report.webp"
# From the title to the map.
WIDTH, HEIGHT = 1280, 1820


def draw() -> None:
    """Renders the page in chromium, and keeps its upper part."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("there is no chromium on this machine: install Debian's package of that name")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder, "report.html")
        file.write_text(render_page(page_facts()), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(file.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn")
        picture = page.screenshot()
        browser.close()
    Image.open(io.BytesIO(picture)).convert("RGB").save(OUT, quality=80, method=6)
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    draw()
