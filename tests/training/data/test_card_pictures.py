"""The pictures of data cards: whole SVGs, small, the same bytes each time, whatever the data lack."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from catp.training.data.card_blocks import blocks, figures_of
from catp.training.data.card_pictures import PICTURES, pictures
from catp.training.data.card_tally import Tally
from catp.training.evaluate.candidates import CandidateSet
from tests.training.data.card_sets import TOOLS, made, option
from tests.training.data.making import records


def tallied() -> Tally:
    tally = Tally()
    list(tally.watch(records(1)))
    return tally


def drawn(sets: list[CandidateSet]) -> dict[str, bytes]:
    return pictures(sets, figures_of(sets, tallied(), TOOLS))


def wide(count: int) -> list[CandidateSet]:
    """Nine families, sixty tools, long names."""
    rng = np.random.default_rng(count)
    return [
        made(
            [option(f"clean tool_with_a_rather_long_name_{rng.integers(60)} read", float(rng.random()),
                    float(10 ** rng.uniform(2, 7)), latency=float(rng.random() * 900)) for _ in range(12)],
            f"s{n}", f"g{n}", condition=f"condition number {n % 30}", inputs=[f"a_type_of_input_{n % 9}"],
            wanted=[str(n)],
        )
        for n in range(count)
    ]  # fmt: skip


def check(svg: bytes) -> None:
    ElementTree.fromstring(svg)
    ids = set(re.findall(rb'id="([^"]+)"', svg))
    assert set(re.findall(rb'href="#([^"]+)"', svg)) | set(re.findall(rb"url\(#([^)]+)\)", svg)) <= ids
    assert len(svg) < 80_000
    assert b"<dc:date>" not in svg


def test_pictures_are_small_whole_and_the_same_each_time() -> None:
    sets = wide(60)
    first = drawn(sets)
    assert tuple(first) == PICTURES  # of a tool in no toolset it only matters that it comes first in no plan
    for svg in first.values():
        check(svg)
    assert drawn(sets) == first


def test_conditions_are_drawn_where_all_tools_are_known() -> None:
    sets = [
        made([option("read", 0.2, 0), option("clean read", 1.0, 500)], str(n), condition=f"condition {n}")
        for n in range(30)
    ]
    svg = drawn(sets)["conditions"]
    check(svg)
    assert svg.count(b"<!-- condition ") == 24
    usual = [made(one.options, f"u{n}", condition="usual") for n, one in enumerate(sets[:5])]
    assert drawn([*sets, *usual])["conditions"].count(b"<!-- condition ") == 0  # one input each, against five


@pytest.mark.parametrize(
    ("sets", "missing"),
    [
        ([made([option("read", 0.5, 5)])], {"tradeoff", "conditions"}),
        ([made([option("read", 0.5, 0), option("look", 0.5, 0)])], {"conditions"}),
        ([made([option("read", 1.0, 5, latency=math.nan, serial=math.nan), option("look", 1.0, 5)])], {"conditions"}),
        ([made([option("read", 0.5, math.pi * 10**n), option("look", 0.5, 0)], str(n)) for n in range(9)],
         {"conditions"}),
        ([made([option("read", 0.5, 5), option("look", 0.5, 6)], str(n), f"{n}", wanted=[str(n)]) for n in range(5)],
         {"conditions"}),
    ],
    ids=["one plan", "all the same and free", "no latency", "some free", "five families"],
)  # fmt: skip
def test_thin_data_are_drawn_as_far_as_they_go(sets: list[CandidateSet], missing: set[str]) -> None:
    found = drawn(sets)
    assert set(PICTURES) - set(found) == missing
    for svg in found.values():
        check(svg)
    texts = blocks(figures_of(sets, tallied(), TOOLS), found)
    for name in found:
        assert sum(f"](card/{name}.svg)" in text for text in texts.values()) == 1
    assert not any(f"card/{name}.svg" in text for name in missing for text in texts.values())
    assert "nan" not in " ".join(texts.values())
