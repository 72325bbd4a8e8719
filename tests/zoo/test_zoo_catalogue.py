"""The zoo as a whole: the default catalogue, shipped profiles, facts of inputs, and real worker processes."""

import importlib.util
import io
from pathlib import Path

import pytest
from PIL import Image

from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import ANY, Type, list_of
from catp.tools.bench.pages import render
from catp.tools.bench.report import typical_facts
from catp.tools.builtin import default_catalogue, shipped_profiles, zoo
from catp.tools.builtin.facts import describe
from catp.tools.builtin.records import Language, Reading
from catp.tools.catalogue import Catalogue
from catp.tools.errors import ToolFailed, ToolUnavailable

pytestmark = pytest.mark.zoo

CAPABILITIES = {
    "answer", "codes", "deblur", "denoise", "entities", "estimate_noise", "faces", "image_stats", "language", "ocr",
    "phrases", "sentiment", "spelling", "summary", "translation", "upscale",
}  # fmt: skip


def test_the_zoo_covers_its_capabilities_with_rivals() -> None:
    tools = zoo()
    by_capability: dict[str, list[str]] = {}
    for tool in tools:
        by_capability.setdefault(tool.spec.capability, []).append(tool.spec.name)
        assert tool.spec.name.startswith(tool.spec.capability)
        assert tool.spec.signature.description.endswith("."), f"{tool.spec.name} says what it is for"
        assert tool.spec.signature.effects == "pure"
    assert set(by_capability) == CAPABILITIES
    assert len(tools) >= 30
    assert sum(len(names) > 1 for names in by_capability.values()) >= 10


def test_every_available_tool_ships_with_a_price_and_an_accuracy() -> None:
    catalogue = default_catalogue()
    for spec in catalogue:
        estimate = catalogue.estimator().estimate(spec.name, typical_facts(spec))
        assert estimate.price.priced, spec.name
        assert estimate.accuracy is not None, spec.name
        assert 0 < estimate.price.low <= estimate.price.expected <= estimate.price.p95  # type: ignore[operator]


def test_shipped_profiles_know_that_cleaning_a_specked_page_pays() -> None:
    profile = shipped_profiles().get("ocr_rapid")
    assert profile is not None
    raw, cleaned = profile.accuracy_at("impulse"), profile.accuracy_at("impulse/denoise_median")
    assert raw is not None
    assert cleaned is not None
    assert cleaned.mean > raw.mean + 0.3


def test_shipped_prices_order_the_rivals() -> None:
    estimator = default_catalogue().estimator()

    def price(name: str) -> int:
        facts = {"image": ValueFacts(Type("image"), Size(512 * 512), "noisy")}
        once_started = estimator.estimate(default_catalogue().get(name).name, facts).without_startup()
        expected = once_started.price.expected
        assert expected is not None
        return expected

    assert price("denoise_median") < price("denoise_dct") < price("denoise_dct_fine")
    assert price("deblur_unsharp") < price("deblur_tv")
    assert price("ocr_rapid_lines") < price("ocr_rapid")


def test_without_the_extra_the_message_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolUnavailable, match=r"pip install 'catp\[tools\]'"):
        default_catalogue()
    reasons = {str(tool.spec.name): tool.spec.unavailable() for tool in zoo()}
    assert reasons["faces_haar"] == "needs cv2: pip install 'catp[tools]'"
    assert reasons["language_stopwords"] is None


async def test_real_workers_meter_and_report_failures() -> None:
    catalogue = default_catalogue()
    try:
        page = render("Three boats left the harbour at dawn.")
        cleaned = await catalogue.get("denoise_dct").backend.call({"image": page}, timeout=60)
        assert cleaned.value.size == page.size
        assert cleaned.usage.cpu_ms > 0
        assert cleaned.usage.cold_cpu_ms > 0
        assert cleaned.usage.peak_mb > 20
        again = await catalogue.get("denoise_dct").backend.call({"image": page}, timeout=60)
        assert again.usage.cold_cpu_ms == 0
        reading = await catalogue.get("ocr_rapid").backend.call({"image": page}, timeout=60)
        assert isinstance(reading.value, Reading)
        assert "harbour" in reading.value.text
        with pytest.raises(ToolFailed, match="sigma must lie"):
            await catalogue.get("denoise_dct").backend.call({"image": page, "sigma": -1.0}, timeout=60)
    finally:
        await catalogue.close()


async def test_a_truncated_picture_is_a_failed_call() -> None:
    data = io.BytesIO()
    render("Cut off in the middle.").save(data, "PNG")
    with Image.open(io.BytesIO(data.getvalue()[:200])) as broken:
        catalogue = Catalogue([tool for tool in zoo() if tool.spec.name == "image_stats"])
        try:
            with pytest.raises((ToolFailed, OSError)):
                await catalogue.get("image_stats").backend.call({"image": broken}, timeout=60)
        finally:
            await catalogue.close()


def test_facts_of_values(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(b"12345")
    page = render("Some print on a page. " * 8)
    assert describe(page) == ValueFacts(Type("image"), Size(page.width * page.height), "clean")
    assert describe("hello") == ValueFacts(Type("text"), Size(5), "short")
    assert describe("hello " * 20).condition == "plain"
    assert describe(file) == ValueFacts(Type("file"), Size(5))
    assert describe(b"123") == ValueFacts(Type("file"), Size(3))
    assert describe(None).type == Type("null")
    assert [str(describe(value).type) for value in (True, 3, 2.5, {"a": 1})] == ["bool", "int", "number", "json"]
    assert describe(Language("en", 1.0)).type == Type("Language")
    assert describe(["abcd", "efgh" * 40]) == ValueFacts(list_of(Type("text")), Size(82, 2), "short")
    assert describe([]).type == list_of(ANY)
    assert describe(Image.new("L", (1, 1))).condition == "small"
