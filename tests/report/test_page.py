"""The pages: self-contained, valid, escaped, small, the same each time."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas
import pytest
from report.samples import report

from accelsim.errors import AccelsimError
from accelsim.report.sweep import save_sweep, sweep_html
from accelsim.search.grid import Failure

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects what the tests ask for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()


@pytest.fixture(scope="module")
def page():
    return report(25).to_html()


@pytest.fixture(scope="module")
def frame():
    rows = [
        {"weight_bits": w, "activation_bits": a, "spec": spec, "accuracy": 1 - 0.5 ** (w + a / 8),
         "float_accuracy": 0.9986, "energy_pj": 1e5 * w * a * scale, "latency_s": 1e-5, "area_mm2": 2.0,
         "dram_bytes": 1000 * w, "sqnr_db": 6.0 * w, "pareto": scale == 1 and a == 4}
        for spec, scale in (("edge-16x16", 1), ("<b>other</b>", 2)) for w in (2, 4, 8) for a in (4, 8)
    ]  # fmt: skip
    return pandas.DataFrame(rows)


def test_the_page_is_well_formed_and_self_contained(page):
    outline = Outline(page)
    assert not outline.tags & {"script", "link", "img", "iframe", "object"}
    assert all(link.startswith("#") for link in outline.links), "nothing is fetched"
    assert "@import" not in page and not re.search(r"url\((?!['\"]?#)", page)
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links} <= set(outline.ids)
    assert set(re.findall(r"url\(#([\w-]+)\)", page)) <= set(outline.ids)
    assert len(page.encode()) < 2_000_000
    assert 'name="viewport"' in page and '<html lang="en">' in page


def test_every_figure_is_xml_with_a_title_and_text_as_text(page):
    figures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(figures) == 6, "accuracy, energy, latency, traffic, roofline, events"
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.get("role") == "img" and root.get("aria-label") and root[0].tag.endswith("title")
        assert root.get("width") is None and root.get("viewBox")
        assert any(element.tag.endswith("}text") for element in root.iter())
    assert "#010203" not in page and "#040506" not in page, "ink and lines are the page's own"


def test_every_layer_component_constant_and_note_is_on_the_page(page):
    r = report(25)
    fixed = ["pJ/bit", "a fit &lt;to&gt; data &amp; tables", r.command, "98.33 %", "99.86 %"]
    fixed.append("12 of 77\u202f824 accumulated outputs overflowed")
    layers = [layer.name for layer in r.cost.layers]
    for needed in (*fixed, *layers, *r.cost.energy_pj, *r.cost.constants, *r.versions, *r.all_notes):
        assert needed in page, needed
    assert "blocks.2.conv1, mac: 9.80 nJ" in page, "bars say their value when pointed at"


def test_names_from_outside_are_escaped():
    evil = '</title><script>alert("1")</script>'
    r = report(network=evil, command=evil, notes=(evil,), versions={evil: evil}, profile=evil)
    page = r.to_html()
    assert "<script" not in page and "&lt;script" in page
    Outline(page)
    layers = tuple(type(c)(**{**c.__dict__, "name": evil + str(i)}) for i, c in enumerate(r.cost.layers))
    cost = type(r.cost)(**{**r.cost.__dict__, "layers": layers})
    page = report(cost=cost).to_html()
    assert "<script" not in page
    Outline(page)


def test_the_same_report_gives_the_same_page(page):
    assert report(25).to_html() == page


def test_without_events_there_is_a_sentence_and_no_figure():
    r = report(6, events=tuple(type(e)(e.name, e.overflow, 32, 0, e.outputs) for e in report(6).events))
    assert "No accumulator overflowed" in r.to_html() and "Overflow per layer" not in r.to_html()


def test_a_notebook_gets_a_fragment(page):
    fragment = report(25)._repr_html_()
    assert fragment.startswith('<div class="accelsim">') and "<html" not in fragment and "<body" not in fragment
    Outline(fragment)


def test_the_sweep_page(frame):
    page = sweep_html(
        frame,
        network="net & co",
        profile="tflm",
        float_accuracy=0.9986,
        samples=719,
        command="accelsim sweep",
    )
    outline = Outline(page)
    assert "<b>other" not in page and "&lt;b&gt;other" in page
    assert len(outline.ids) == len(set(outline.ids)) and all(link.startswith("#") for link in outline.links)
    assert page.count("Pareto</td>") == int(frame["pareto"].sum()) == 3
    assert page.count("<tr") == 1 + len(frame)
    assert page.count("<svg") == 2 and "W8A4" in page and "net &amp; co" in page


def test_a_sweep_is_saved_by_suffix(frame, tmp_path):
    class Result:
        network, profile = "net", "tflm"
        failures = (Failure(2, 4, "edge", "Traceback (most recent call last):\n  …\nValueError: no <such> layer"),)

    Result.frame = frame
    page = save_sweep(Result, tmp_path / "s.html").read_text("utf-8")
    assert "<svg" in page and "Failed: W2A4 on edge: ValueError: no &lt;such&gt; layer" in page
    back = pandas.read_json(save_sweep(Result, tmp_path / "s.json"))
    assert back["energy_pj"].tolist() == frame["energy_pj"].tolist()
    assert pandas.read_csv(save_sweep(Result, tmp_path / "s.csv"))["accuracy"].tolist() == frame["accuracy"].tolist()
    with pytest.raises(AccelsimError, match=r"\.html, \.json or \.csv"):
        save_sweep(Result, tmp_path / "s.png")
