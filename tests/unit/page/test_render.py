"""The page as a file: what it holds, what it may not, and which sections it has."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from spark_jobs.page.facts import Contents, Coverage, Runs, SpaceChange
from spark_jobs.page.render import embedded_json, render_page
from spark_jobs.settings.sections import CostSettings
from tests.support.page_facts import AT, page_facts, run_facts, vector_map

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """Counts elements, and keeps what scripts hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sections: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names.append(tag)
        assert not [name for name in given if name.startswith("on")]
        if tag == "section" and given.get("id"):
            self.sections.append(str(given["id"]))
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])
        self.is_script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self.names and self.names[-1] == "script" and self.is_script:
            self.scripts.append(data)
            self.is_script = False


def test_every_section_is_there_and_the_page_is_bounded() -> None:
    # In a script of three bytes a character, texts take most room.
    page = render_page(page_facts(map=vector_map(5_000, text="梟は夜に狩りをする。", id_="文書")))
    found = Elements(page)
    assert found.sections == ["documents", "chunks", "map", "runs", "estimates", "spaces", "calibration"]
    assert 1_000_000 < len(page.encode()) < 3_000_000


def test_the_page_loads_nothing_and_runs_its_own_scripts_alone() -> None:
    page = render_page(page_facts(runs=3, points=10))
    found = Elements(page)
    data, *scripts = found.scripts
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert found.policy == (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert len(json.loads(data)) == page.partition("<script")[0].count('data-chart="')
    assert not {"iframe", "object", "embed", "form", "base"} & set(found.names)
    assert re.findall(r'(?:src|href)="(?!#)([^"]*)"', page.partition("<script")[0]) == ["data:,"]


def test_nothing_in_a_text_becomes_an_element() -> None:
    plain = render_page(page_facts(runs=2, points=10))
    hostile = page_facts(
        **{"runs": 2, "library": HOSTILE, "space": HOSTILE},
        map=vector_map(10, text=HOSTILE, id_=HOSTILE),
        coverage=Coverage({"unchanged": 1}, None, [HOSTILE], HOSTILE),
        changes=[SpaceChange(HOSTILE, HOSTILE, AT, HOSTILE, {HOSTILE: 1.0})],
        contents=Contents({"embedded": 1}, {HOSTILE: 1}),
    )
    page = render_page(hostile)
    found = Elements(page).names
    assert found.count("script") == Elements(plain).names.count("script") == 3
    assert set(found) <= set(Elements(plain).names) | {"p"}


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028", "\u2029", "<script>", "]]>"])
def test_json_in_a_script_ends_nothing_and_reads_as_it_was(text: str) -> None:
    embedded = embedded_json({"text": text})
    assert "<" not in embedded and "\u2028" not in embedded and "\u2029" not in embedded
    assert json.loads(embedded) == {"text": text}


def test_an_empty_store_has_a_page_without_scripts() -> None:
    nothing = page_facts(
        **{"coverage": Coverage({"added": 7, "unchanged": 0}), "contents": Contents({}, {}), "runs": Runs()},
        **{"spaces": (), "evaluations": (), "changes": (), "map": None, "calibration": None, "cost": CostSettings()},
    )
    page = render_page(nothing)
    found = Elements(page)
    assert (found.sections, found.scripts) == (["documents"], [])
    assert "No run has written to this space yet" in page and "0 of 7 documents" in page
    assert "script-src 'none'" in found.policy and len(page) < 20_000


def test_estimates_and_costs_are_left_out_where_there_are_none() -> None:
    page = render_page(page_facts(runs=2, points=1, cost=CostSettings(), calibration=None))
    assert Elements(page).sections == ["documents", "chunks", "map", "runs", "spaces"]
    assert 'data-chart="costs"' not in page


def test_estimates_are_drawn_beside_what_they_became() -> None:
    counts = {"tokens_embedded": 800, "tokens_saved": 200, "estimated_tokens": 900, "estimated_seconds": 50}
    counts["milliseconds"] = 44_000
    guessed = run_facts(2, counts=counts, seconds={"embed": 40.0, "close": 2.5})
    page = render_page(page_facts(points=1, runs=Runs(2, [run_facts(1), guessed])))
    drawn = {chart["name"]: chart["columns"] for chart in json.loads(Elements(page).scripts[0])}
    assert {name: drawn["estimated-tokens"][name] for name in ("run", "estimate", "actual")} == {
        **{"run": [2], "estimate": [900], "actual": [800]}
    }
    assert (drawn["estimated-seconds"]["estimate"], drawn["estimated-seconds"]["actual"]) == ([50], [44.0])


def test_without_texts_points_have_neither_text_nor_id() -> None:
    found = vector_map(10, text="secret", id_="secret")
    bare = type(found)(found.points, found.explained, found.total)
    page = render_page(page_facts(runs=1, map=bare))
    assert "secret" not in page
    assert set(next(c for c in json.loads(Elements(page).scripts[0]) if c["name"] == "map")["columns"]) == {"x", "y"}


def test_a_run_that_took_far_longer_is_named_instead_of_drawn_whole() -> None:
    runs = [run_facts(n, seconds={"embed": 5_000.0 if n == 3 else 10.0}) for n in range(1, 31)]
    page = render_page(page_facts(points=1, runs=Runs(30, runs)))
    assert "Higher than the chart: run 3 (1:23 h)." in page
    steps = next(c for c in json.loads(Elements(page).scripts[0]) if c["name"] == "steps")
    assert steps["spec"]["encoding"]["y"]["scale"]["domain"] == [0, 11.0]
