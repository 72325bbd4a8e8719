"""The catalogue: names, types, search, digest, availability, and predictions from profiles."""

from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

import catp.tools
from catp.planlang.registry_view import UNPRICED, CallEstimate, Size, Startup, ValueFacts
from catp.planlang.types import Type
from catp.tools import (
    Catalogue,
    CatalogueError,
    ComputePrice,
    CustomPrice,
    Free,
    PerCall,
    PerToken,
    PerUnit,
    ProfileBook,
    Tool,
    ToolSpec,
    Usage,
    WorkerPool,
    llm_tool,
    tool,
)


@dataclass(frozen=True)
class Reading:
    text: str
    confidence: float


@tool(capability="ocr", namespace="page")
def ocr_fast(image: Image.Image) -> Reading:
    """Recognise printed characters, roughly."""
    return Reading("", 0.0)


@tool(capability="denoise", namespace="page", accuracy=0.4)
def denoise_median(image: Image.Image, size: int = 3) -> Image.Image:
    """Remove salt and pepper noise."""
    return image


@tool(capability="sentiment", price=PerCall("0.01"), placement="thread")
def sentiment(text: str) -> float:
    """Tell whether a text is friendly."""
    return 0.0


TOOLS = (ocr_fast, denoise_median, sentiment)


def estimate(tool: Any, profiles: ProfileBook, **args: ValueFacts) -> CallEstimate:
    catalogue = Catalogue([tool], profiles)
    (spec,) = catalogue
    return catalogue.estimator().estimate(spec.name, args)


def image(pixels: int = 100, condition: str = "") -> ValueFacts:
    return ValueFacts(Type("image"), Size(pixels), condition)


def test_tools_are_found_by_full_name_and_typos_get_help() -> None:
    catalogue = Catalogue(TOOLS)
    assert catalogue.get("page.ocr_fast") is ocr_fast.spec
    assert "page.ocr_fast" in catalogue
    assert len(catalogue) == 3
    with pytest.raises(KeyError, match=r"unknown tool 'page.ocr_fats'; did you mean `page.ocr_fast`"):
        catalogue.get("page.ocr_fats")


def test_the_view_has_the_signatures_in_order_and_their_types() -> None:
    view = Catalogue(TOOLS).view()
    assert [sig.name for sig in view] == ["page.ocr_fast", "page.denoise_median", "sentiment"]
    assert view.types.field(Type("Reading"), "confidence") == Type("number")


def test_a_name_used_twice_is_refused() -> None:
    with pytest.raises(CatalogueError, match="two tools are called 'sentiment'"):
        Catalogue([sentiment, sentiment])
    with pytest.raises(CatalogueError, match="two tools are called"):
        Catalogue(TOOLS).with_tools(sentiment)


def test_one_type_name_with_two_meanings_is_refused() -> None:
    @dataclass(frozen=True)
    class Reading:
        words: list[str]

    def other(text: str) -> Any: ...

    other.__annotations__["return"] = Reading
    clash = tool(placement="thread")(other)
    with pytest.raises(CatalogueError, match=r"tool 'other': type 'Reading' is already defined.*rename"):
        Catalogue([ocr_fast, clash])


def test_only_tools_go_in() -> None:
    with pytest.raises(TypeError, match="decorate the function with @tool"):
        Catalogue([len])  # type: ignore[list-item]  # wrong on purpose


def test_namespaces_and_availability_narrow_a_catalogue() -> None:
    missing = tool(placement="thread", name="far", unavailable=lambda: "needs gocr")(lambda_like)
    catalogue = Catalogue(TOOLS).with_tools(missing)
    assert [spec.name for spec in catalogue.namespace("page")] == ["page.ocr_fast", "page.denoise_median"]
    assert [spec.name for spec in catalogue.namespace("pag")] == []
    assert "far" in catalogue
    assert "far" not in catalogue.available()


def lambda_like(text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("text", "first"),
    [("ocr", "page.ocr_fast"), ("remove noise", "page.denoise_median"), ("friendly text", "sentiment"),
     ("Reading", "page.ocr_fast"), ("DENOISE!", "page.denoise_median")],
)  # fmt: skip
def test_search_finds_by_name_capability_type_and_description(text: str, first: str) -> None:
    assert Catalogue(TOOLS).search(text)[0].name == first


def test_search_finds_nothing_for_nothing() -> None:
    assert Catalogue(TOOLS).search("") == ()
    assert Catalogue(TOOLS).search("quantum chromodynamics") == ()
    assert len(Catalogue(TOOLS).search("text image", limit=1)) == 1


def same(**options: Any) -> "Tool[Any, Any]":
    return tool(**{"placement": "thread", "price": PerCall("0.01"), **options})(lambda_like)


@pytest.mark.parametrize(
    "options",
    [{"version": "2"}, {"price": PerCall("0.011")}, {"effects": "read"}, {"timeout": 3}, {"accuracy": 0.5},
     {"capability": "x"}, {"name": "y"}, {"price": Free()}],
    ids=lambda options: "-".join(options),
)  # fmt: skip
def test_the_digest_changes_with_everything_a_plan_depends_on(options: dict[str, Any]) -> None:
    assert Catalogue([same()]).digest == Catalogue([same()]).digest
    assert Catalogue([same()]).digest != Catalogue([same(**options)]).digest


def test_learning_does_not_change_the_digest() -> None:
    book = ProfileBook()
    book.observe("lambda_like", Usage(cpu_ms=1))
    assert Catalogue([same()]).digest == Catalogue([same()], book).digest


def test_a_declared_price_is_exact_before_anything_was_measured() -> None:
    found = estimate(sentiment, ProfileBook(), text=ValueFacts(Type("text"), Size(100)))
    assert (found.price.low, found.price.expected, found.price.p95) == (10_000_000,) * 3
    assert found.count == 0


def test_a_price_that_depends_on_use_is_unknown_until_measured_never_zero() -> None:
    assert estimate(ocr_fast, ProfileBook(), image=image()).price == UNPRICED
    assert estimate(same(price=PerUnit("pages", 1)), ProfileBook()).price == UNPRICED
    assert estimate(same(price=CustomPrice(lambda usage: 5)), ProfileBook()).price == UNPRICED


def count_words(text: str) -> int:
    return len(text.split())


def measured(*cpu_ms: float, size: int = 100, cold: float = 0.0) -> ProfileBook:
    book = ProfileBook()
    for position, value in enumerate(cpu_ms):
        start = cold if position == 0 else 0.0
        usage = Usage(cpu_ms=value, wall_ms=2 * value + start, peak_mb=100, cold_cpu_ms=start)
        book.observe("page.ocr_fast", usage, size=size, output=Size(50))
    return book


def test_a_measured_price_has_an_order() -> None:
    cpu_ms = [10.0 + n * 37 % 100 for n in range(100)]  # 10 to 109 ms in no order
    found = estimate(ocr_fast, measured(*cpu_ms), image=image())
    assert found.price.low is not None
    assert found.price.expected is not None
    assert found.price.p95 is not None
    assert 200 < found.price.low < found.price.expected < found.price.p95
    assert found.price.expected == pytest.approx(200 + 125, abs=3)  # about 59.5 ms, late calls weighing more, x 2.1
    assert found.latency.expected_ms == pytest.approx(119.0, rel=0.02)
    assert found.count == 100


def test_a_cold_start_is_expected_once_and_always_part_of_the_p95() -> None:
    warm = estimate(ocr_fast, measured(*[10.0] * 10), image=image())
    cold = estimate(ocr_fast, measured(*[10.0] * 10, cold=1000.0), image=image())
    assert warm.price.expected is not None
    assert cold.price.expected is not None
    assert cold.price.expected - warm.price.expected == cold.startup.price == 2100
    assert cold.startup.latency.expected_ms == 1010  # all of the first call's time but its own 10 ms of computing
    assert cold.without_startup().price.expected == warm.price.expected
    assert cold.without_startup().latency.expected_ms == pytest.approx(warm.latency.expected_ms)
    assert cold.price.p95 is not None
    assert warm.price.p95 is not None
    assert cold.price.p95 - warm.price.p95 == 2100
    assert cold.price.low == warm.price.low


async def test_a_warm_worker_needs_no_cold_start() -> None:
    pool = WorkerPool(size=1)
    spec = tool(price=ComputePrice(), pool=pool)(count_words).spec
    profiles = ProfileBook()
    profiles.observe(spec.name, Usage(cpu_ms=1.0, peak_mb=50.0, cold_cpu_ms=500.0))
    catalogue = Catalogue([spec], profiles)
    facts = {"text": ValueFacts(Type("text"), Size(10))}
    try:
        assert catalogue.estimator().estimate(spec.name, facts).startup.price > 0
        await spec.backend.call({"text": "one two"}, timeout=30.0)
        assert catalogue.estimator().estimate(spec.name, facts).startup == Startup()
        await spec.backend.close()
        assert catalogue.estimator().estimate(spec.name, facts).startup.price > 0
    finally:
        pool.close()


def test_use_is_a_line_through_the_measured_sizes() -> None:
    book = measured(*[15.0] * 30, size=100)  # 10 ms + 0.05 ms a unit
    book = book.merge(measured(*[60.0] * 30, size=1000))

    def cpu_ms(size: int) -> float:
        return estimate(ocr_fast, book, image=image(size)).latency.expected_ms / 2

    assert cpu_ms(100) == pytest.approx(15)
    assert cpu_ms(400) == pytest.approx(30)
    assert cpu_ms(100_000) == pytest.approx(5010)
    assert cpu_ms(1) == cpu_ms(100)  # nothing is cheaper than the smallest that was measured


def test_what_does_not_grow_is_not_multiplied_beyond_the_measured_sizes() -> None:
    book = measured(*[20.0] * 10, size=100).merge(measured(*[20.0] * 10, size=1000))
    near, far = (estimate(ocr_fast, book, image=image(n)) for n in (1000, 1_000_000))
    assert far.latency.expected_ms == pytest.approx(near.latency.expected_ms)
    assert far.price.expected == near.price.expected
    assert far.latency.p95_ms >= 2 * far.latency.expected_ms  # nobody measured anything like it


def test_one_measured_size_grows_by_what_it_computes() -> None:
    book = ProfileBook()
    for _ in range(30):
        book.observe("page.ocr_fast", Usage(cpu_ms=1.0, wall_ms=80.0, peak_mb=100), size=600)
    found = estimate(ocr_fast, book, image=image(60_000))
    assert found.latency.expected_ms == pytest.approx(79 + 100)
    assert found.price.expected == 200 + 210


def test_one_odd_call_does_not_wreck_an_estimate() -> None:
    book = measured(*[10.0] * 30, size=100).merge(measured(*[10.0] * 30, size=10_000))
    before = estimate(ocr_fast, book, image=image(1000)).latency
    book = book.merge(measured(1000.0, size=1000))
    after = estimate(ocr_fast, book, image=image(1000)).latency
    assert before.expected_ms == pytest.approx(20)
    assert 20 < after.expected_ms < 500  # not 2000
    many = book.merge(measured(*[1000.0] * 99, size=1000))
    assert estimate(ocr_fast, many, image=image(1000)).latency.expected_ms == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize("calls", [1, 2, 5, 19, 100])
def test_few_calls_do_not_bound_the_next_one(calls: int) -> None:
    found = estimate(ocr_fast, measured(*[1000.0] * calls), image=image())
    assert found.price.low is not None
    assert found.price.expected is not None
    assert found.price.p95 is not None
    assert found.price.low < found.price.expected < found.price.p95
    assert found.latency.p95_ms == pytest.approx(found.latency.expected_ms * (1 + 1 / calls))


def test_a_first_call_says_nothing_of_the_latency_of_later_ones() -> None:
    book = ProfileBook()
    book.observe("page.ocr_fast", Usage(cpu_ms=1.0, wall_ms=450.0, peak_mb=50, cold_cpu_ms=70.0), size=100)
    only_cold = estimate(ocr_fast, book, image=image()).without_startup()
    assert (only_cold.latency.expected_ms, only_cold.timed) == (1.0, True)
    book.observe("page.ocr_fast", Usage(cpu_ms=1.0, wall_ms=2.0, peak_mb=50), size=100)
    found = estimate(ocr_fast, book, image=image())
    assert found.without_startup().latency.expected_ms == pytest.approx(2.0)
    assert found.latency.expected_ms == pytest.approx(451.0)


def test_a_time_nobody_measured_is_unknown() -> None:
    assert not estimate(sentiment, ProfileBook(), text=ValueFacts(Type("text"), Size(100))).timed
    assert estimate(ocr_fast, measured(1.0), image=image()).timed


def test_a_pool_can_start_as_many_workers_as_it_has_places() -> None:
    pool = WorkerPool(size=3)
    book = ProfileBook()
    book.observe("count_words", Usage(cpu_ms=1.0, peak_mb=50.0, cold_cpu_ms=500.0))
    text = ValueFacts(Type("text"), Size(10))
    assert estimate(tool(pool=pool)(count_words), book, text=text).startup.parallel == 3
    assert estimate(tool(pool=pool, concurrency=2)(count_words), book, text=text).startup.parallel == 2


def test_a_broken_price_model_makes_its_tool_unpriced_not_the_catalogue_unusable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    book = ProfileBook()
    book.observe("lambda_like", Usage(cpu_ms=1))

    def broken(usage: Usage) -> int:
        raise RuntimeError("no price today")

    assert estimate(same(price=CustomPrice(broken)), book).price == UNPRICED
    assert "no price today" in caplog.text


def test_tokens_are_forecast_until_measured() -> None:
    spec: ToolSpec = llm_tool(
        "ask", model="m", prompt="{text}", params={"text": str}, max_tokens=100, price=PerToken(input=1, output=2)
    )
    found = estimate(spec, ProfileBook(), text=ValueFacts(Type("text"), Size(1000)))
    assert found.price.p95 is not None
    assert found.price.p95 >= 1_000_000_000 * (1000 / 1000 * 1 + 100 / 1000 * 2)
    book = ProfileBook()
    book.observe("ask", Usage(units={"tokens_in": 250, "tokens_out": 20}), version=spec.version, size=1000)
    found = estimate(spec, book, text=ValueFacts(Type("text"), Size(1000)))
    forecast, measured = 252 * 1 + 25 * 2, 250 * 1 + 20 * 2  # one call against a forecast that counts for five
    assert found.price.expected == pytest.approx(1_000_000_000 * (5 * forecast + measured) / 6 / 1000)
    for _ in range(2000):
        book.observe("ask", Usage(units={"tokens_in": 250, "tokens_out": 20}), version=spec.version, size=1000)
    found = estimate(spec, book, text=ValueFacts(Type("text"), Size(1000)))
    assert found.price.expected == pytest.approx(1_000_000_000 * measured / 1000, rel=1e-3)


def test_restoring_an_image_is_remembered_in_its_condition() -> None:
    assert estimate(denoise_median, ProfileBook(), image=image(100, "noisy")).output == ValueFacts(
        Type("image"), Size(100), "noisy/page.denoise_median"
    )
    assert estimate(denoise_median, ProfileBook(), image=image(100)).output.condition == ""
    assert estimate(ocr_fast, ProfileBook(), image=image(100, "noisy")).output.condition == ""


def test_accuracy_is_measured_by_condition_and_falls_back_step_by_step() -> None:
    def accuracy(book: ProfileBook, condition: str) -> float | None:
        return estimate(denoise_median, book, image=image(100, condition)).accuracy

    book = ProfileBook()
    assert accuracy(book, "noisy") == 0.4  # declared
    assert estimate(ocr_fast, book, image=image()).accuracy is None
    name = "page.denoise_median"
    book.score(name, 0.5, condition="noisy", count=3)
    book.score(name, 0.9, condition="noisy/dct")
    assert accuracy(book, "noisy/dct") == 0.9
    assert accuracy(book, "noisy/wavelet") == 0.5
    assert accuracy(book, "blurred") == pytest.approx((3 * 0.5 + 0.9) / 4)


def test_the_size_of_a_result_follows_the_size_of_the_input() -> None:
    book = measured(1.0, size=100)
    assert estimate(ocr_fast, book, image=image(200)).output.size == Size(100)
    assert estimate(denoise_median, ProfileBook(), image=image(77)).output.size == Size(77)


def test_another_version_is_another_tool() -> None:
    book = ProfileBook()
    book.observe("page.ocr_fast", Usage(cpu_ms=1), version="0")
    assert estimate(ocr_fast, book, image=image()).price == UNPRICED


def test_failures_are_counted_and_do_not_pass_for_cheap_calls() -> None:
    book = measured(10.0, 10.0, 10.0)
    book.observe("page.ocr_fast", Usage(cpu_ms=0.0), size=100, failed=True)
    found = estimate(ocr_fast, book, image=image())
    assert found.failure == pytest.approx(1.1 / 14)
    assert found.latency.expected_ms == pytest.approx(20)
    book = ProfileBook()
    for _ in range(1000):
        book.observe("page.ocr_fast", Usage(), failed=True)
    assert estimate(ocr_fast, book, image=image()).failure == pytest.approx(1.0, abs=0.01)
    assert estimate(ocr_fast, ProfileBook(), image=image()).failure == 0.0


def test_every_exported_name_exists_and_is_listed() -> None:
    for name in catp.tools.__all__:
        assert getattr(catp.tools, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        catp.tools.nothing  # noqa: B018  the access is the test


def test_a_compute_price_is_the_default_of_the_public_decorator() -> None:
    assert isinstance(ocr_fast.spec.price, ComputePrice)
