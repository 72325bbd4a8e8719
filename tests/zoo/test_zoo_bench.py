"""The bench: metrics that can be checked by hand, a real quick run, and the picture it draws."""

import json
from xml.etree import ElementTree

import pytest
from PIL import Image

from catp.tools.bench import run
from catp.tools.bench.chart import Dot, fronts_svg
from catp.tools.bench.metrics import (
    boxes_f1,
    character_accuracy,
    chrf,
    edit_distance,
    mended,
    overlap_f1,
    psnr,
    unigram_f1,
    word_accuracy,
)
from catp.tools.builtin import default_catalogue
from catp.tools.profile import ProfileBook

pytestmark = pytest.mark.zoo


def test_text_metrics() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert character_accuracy("a  b\nc", "a b c") == 1.0
    assert character_accuracy("abxd", "abcd") == 0.75
    assert character_accuracy("", "abcd") == 0.0
    assert character_accuracy("much longer than that", "ab") == 0.0
    assert word_accuracy("one tow three", "one two three") == pytest.approx(2 / 3)
    assert overlap_f1(["a", "b"], ["b", "c"]) == 0.5
    assert overlap_f1([], []) == 1.0
    assert unigram_f1("The cat", "the cat sat on") == pytest.approx(2 / 3)
    assert chrf("el tren", "el tren") == 1.0
    assert chrf("xyz", "abc") == 0.0


def test_picture_metrics() -> None:
    black, grey, white = (Image.new("L", (8, 8), level) for level in (0, 100, 200))
    assert psnr(black, black) == float("inf")
    assert psnr(grey, black) == pytest.approx(8.13, abs=0.01)
    assert mended(black, white, black) == 1.0
    assert mended(grey, white, black) == 0.75
    assert mended(white, grey, black) == 0.0, "harm"
    assert mended(black, black, black) == 1.0, "nothing to mend, nothing harmed"
    box = {"x": 0, "y": 0, "w": 10, "h": 10}
    assert boxes_f1([box], [{**box, "x": 2}]) == 1.0
    assert boxes_f1([box, {**box, "x": 90}], [box]) == pytest.approx(2 / 3)


async def test_a_quick_bench_fills_profiles(tmp_path: pytest.TempPathFactory) -> None:
    catalogue = default_catalogue()
    seen: list[tuple[int, int]] = []
    report = await run(
        catalogue, ["entities", "upscale"], quick=True, progress=lambda done, total, what: seen.append((done, total))
    )
    await catalogue.close()
    assert seen[-1][0] == seen[-1][1] == len(seen)
    assert {row.capability for row in report.rows} == {"entities", "upscale"}
    for row in report.rows:
        assert row.calls > 0
        assert row.failures == 0
        assert row.accuracy is not None
        assert row.price.priced
    accuracy = {row.tool: row.accuracy for row in report.rows}
    assert accuracy["entities_names"] > accuracy["entities_patterns"]  # type: ignore[operator]
    path = tmp_path / "profiles.json"  # type: ignore[operator]
    report.profiles.save(path)
    assert ProfileBook.load(path).to_json() == report.profiles.to_json()
    assert json.loads(json.dumps(report.to_json()))["machine"]["cores"] >= 1
    assert "entities_names" in report.table()
    ElementTree.fromstring(report.svg())


def test_the_chart_shows_every_tool_and_escapes_names() -> None:
    dots = [Dot("ocr_a", 1e-6, 0.5, True), Dot("ocr_<b>", 1e-4, 0.9, True), Dot("ocr_c", 2e-4, 0.4, False)]
    svg = fronts_svg({"ocr": dots, "one": [Dot("one_x", 0.0, 1.0, True)]})
    root = ElementTree.fromstring(svg)
    assert len(root.findall(".//{http://www.w3.org/2000/svg}circle")) == 4
    assert "&lt;b&gt;" in svg
    assert "nan" not in svg
