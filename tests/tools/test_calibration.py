"""Learned profiles: p95 that cover 95 %, that follow a changed tool, that one odd call cannot move; and bad facts."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.money import Money
from catp.planlang.registry_view import CallEstimate, Latency, PriceRange, Size, ValueFacts
from catp.planlang.types import Type
from catp.tools import Catalogue, ComputePrice, PerToken, ProfileBook, Usage, tool
from catp.tools.calibration import TARGET, Calibration, Tracker
from catp.tools.call_fact import CallFact
from catp.tools.coverage import coverage, from_fact
from catp.tools.estimator import LEVELS
from catp.tools.learn import learn_all, rebuild, taught
from catp.tools.price import total
from catp.tools.share import Share
from catp.tools.spread import Spread

SIZES = (100, 300, 1000, 3000)


@tool(price=ComputePrice(fee_usd="0", tiers=[(10240, "0.000001")]), placement="thread")
def work(text: str) -> str:
    """Costs a thousand nano-USD per millisecond."""
    return text


@tool(price=PerToken(input=1, output=2), placement="thread")
def talk(text: str) -> str:
    """Is billed by two quantities that vary at once."""
    return text


def usual_ms(size: int) -> float:
    return 5 + size / 100


class Life:
    """A tool in use: each call is predicted, made and learned."""

    def __init__(self, seed: int = 1, spread: float = 0.3) -> None:
        self.random = random.Random(seed)
        self.spread = spread
        self.book = ProfileBook()
        self.estimator = Catalogue([work], self.book).estimator(live=True)
        self.facts: list[CallFact] = []

    def predict(self, size: int = 1000) -> CallEstimate:
        return self.estimator.estimate(work.spec.name, {"text": ValueFacts(Type("text"), Size(size))})

    def call(self, factor: float = 1.0, size: int | None = None) -> None:
        size = size or self.random.choice(SIZES)
        ms = usual_ms(size) * factor * math.exp(self.random.gauss(0, self.spread))
        self.learn(size, Usage(wall_ms=ms + 2, cpu_ms=ms, peak_mb=50))

    def fail(self) -> None:
        self.learn(100, Usage(cpu_ms=1.0), failed=True)

    def learn(self, size: int, usage: Usage, *, failed: bool = False) -> None:
        guess = self.predict(size)
        fact = CallFact(
            work.spec.name, work.spec.version, len(self.facts), size, None if failed else Size(size), usage,
            total(work.spec.price.charge(usage)), guess.price if guess.price.priced else None,
            guess.latency if guess.timed else None, failed,
        )  # fmt: skip
        self.book.learn(fact)
        self.facts.append(fact)

    def calls(self, count: int, factor: float = 1.0) -> None:
        for _ in range(count):
            self.call(factor)

    def p95(self, size: int = 1000) -> float:
        """The p95 price over what such a call usually costs."""
        found = self.predict(size).price.p95
        assert found is not None
        return found / (usual_ms(size) * 1000)

    def expected(self, size: int = 1000) -> float:
        found = self.predict(size).price.expected
        assert found is not None
        return found / (usual_ms(size) * 1000)


def covered(facts: Sequence[CallFact]) -> tuple[float, float]:
    overall, _ = coverage(from_fact(fact) for fact in facts)
    assert overall.price is not None
    assert overall.latency is not None
    return overall.price.covered[TARGET], overall.latency.covered[TARGET]


# --- coverage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0])
def test_the_p95_covers_95_percent(spread: float) -> None:
    life = Life(seed=7, spread=spread)
    life.calls(1200)
    price, latency = covered(life.facts[300:])
    assert price == pytest.approx(0.95, abs=0.02)
    assert latency == pytest.approx(0.95, abs=0.02)


def test_the_p95_covers_95_percent_of_a_tool_that_gets_dearer_all_the_time() -> None:
    life = Life(seed=3)
    for number in range(1200):
        life.call(1.002**number)  # twenty times as dear in the end
    assert covered(life.facts[300:])[0] == pytest.approx(0.95, abs=0.02)


def test_the_p95_covers_95_percent_where_two_quantities_are_billed_at_once() -> None:
    book, chance = ProfileBook(), random.Random(5)
    estimator = Catalogue([talk], book).estimator(live=True)
    facts = []
    for number in range(1200):
        units = {"tokens_in": chance.lognormvariate(5, 0.5), "tokens_out": chance.lognormvariate(5, 0.5)}
        guess = estimator.estimate(talk.spec.name, {"text": ValueFacts(Type("text"), Size(500))})
        usage = Usage(wall_ms=1, units=units)
        predicted = guess.price if guess.price.priced else None
        amount = total(talk.spec.price.charge(usage))
        facts.append(CallFact("talk", "1", number, 500, None, usage, amount, predicted, None, False))
        book.learn(facts[-1])
    overall, _ = coverage(from_fact(fact) for fact in facts[500:])
    assert overall.price is not None
    assert overall.price.covered[TARGET] == pytest.approx(0.95, abs=0.02)


def test_every_quantile_is_predicted_in_order_and_near_the_truth() -> None:
    life = Life(seed=2)
    life.calls(400)
    found = life.estimator.forecast(work.spec.name, {"text": ValueFacts(Type("text"), Size(1000))})
    assert found.price is not None
    assert found.latency_ms is not None
    assert tuple(found.price) == tuple(found.latency_ms) == LEVELS
    prices = list(found.price.values())
    assert prices == sorted(prices)
    true = [15_000 * math.exp(0.3 * z) for z in (0, 1.2816, 1.6449, 2.3263)]
    assert prices == pytest.approx(true, rel=0.25)
    assert found.calls == 400
    assert found.failure.value == pytest.approx(0.0, abs=0.01)


def test_a_calibration_steps_towards_what_it_misses() -> None:
    fact = CallFact(
        "t", "1", 0, 1, None, Usage(wall_ms=9.0), Money(100), PriceRange(Money(1), Money(50), Money(99)),
        Latency(5.0, 10.0), False,
    )  # fmt: skip
    after = Calibration().after(fact, step=0.01)
    assert after.price.miss == pytest.approx(0.05 - 0.01 * 0.95)
    assert after.latency.miss == pytest.approx(0.05 + 0.01 * 0.05)
    assert (after.price.held, after.latency.held) == (Share(1, 0), Share(1, 1))


@given(st.lists(st.booleans(), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_levels_stay_bounded_whatever_happens(misses: list[bool]) -> None:
    tracker = Tracker()
    for missed in misses:
        tracker = tracker.after(2.0 if missed else 1.0, 1.5, 0.0, 0.05)
    assert 0.0 < tracker.miss <= 0.15
    assert Tracker.from_json(tracker.to_json()).miss == pytest.approx(tracker.miss, abs=1e-5)


def test_a_p95_that_cannot_be_lower_is_not_asked_to_be() -> None:
    tracker = Tracker().after(10.0, 10.0, 10.0, 0.05)
    assert tracker.miss == Tracker().miss


# --- drift and odd calls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(1.0, 3.0), (3.0, 1.0)])
def test_a_tool_that_changes_threefold_is_followed_within_some_tens_of_calls(before: float, after: float) -> None:
    life = Life()
    life.calls(200, before)
    assert life.expected() == pytest.approx(before, rel=0.25)
    life.calls(30, after)
    assert life.expected() == pytest.approx(after, rel=0.35)
    life.calls(70, after)
    assert life.expected() == pytest.approx(after, rel=0.25)
    assert life.p95() == pytest.approx(after * math.exp(0.3 * 1.645), rel=0.35)


def test_a_change_is_followed_at_sizes_that_were_not_called_since() -> None:
    life = Life()
    life.calls(200)
    for _ in range(40):
        life.call(3.0, size=100)
    assert life.expected(3000) > 1.4  # in part: it may be that only small inputs became dearer
    assert life.expected(100) == pytest.approx(3.0, rel=0.25)


@pytest.mark.parametrize("calls", [4, 10, 30, 100, 300])
def test_one_odd_call_does_not_move_the_p95_wildly(calls: int) -> None:
    life, plain = Life(spread=0.2), Life(spread=0.2)
    life.calls(calls)
    plain.calls(calls)
    life.call(100.0)
    plain.call()
    assert life.p95() < 3 * plain.p95()
    assert life.expected() < 2 * plain.expected()
    life.calls(300)
    assert life.p95() == pytest.approx(math.exp(0.2 * 1.645), rel=0.3)


def test_odd_calls_that_recur_are_not_hidden() -> None:
    life = Life(spread=0.2)
    for number in range(200):
        life.call(30.0 if number % 10 == 9 else 1.0)
    assert life.p95() > 15
    assert covered(life.facts[100:])[0] > 0.9


def test_the_failure_rate_follows_with_an_interval() -> None:
    life = Life()
    life.calls(500)
    for _ in range(100):
        life.fail()
    profile = life.book.get("work")
    assert profile is not None
    assert (profile.calls, profile.failures) == (600, 100)
    assert profile.failure.value == pytest.approx(0.5, abs=0.05)  # half-life: 100 calls
    low, high = profile.failure.interval
    assert 0.4 < low < high < 0.6
    assert low < life.predict().failure < high
    assert life.predict().failure == pytest.approx(profile.failure.value)
    life.calls(400)
    assert life.predict().failure < 0.06


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_share_lies_in_its_interval(part: int, rest: int) -> None:
    share = Share.of(part + rest, part)
    low, high = share.interval
    assert 0.0 <= low <= high <= 1.0
    assert share.value is None or low <= share.value <= high


def test_a_share_of_no_calls_is_unknown() -> None:
    assert (Share().value, Share().interval) == (None, (0.0, 1.0))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=200), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
@settings(max_examples=100, deadline=None)
def test_quantiles_rise_with_their_level_and_are_among_the_ratios(ratios: list[float], a: float, b: float) -> None:
    spread = Spread(ratios)
    low, high = spread.quantile(min(a, b)), spread.quantile(max(a, b))
    assert low <= high <= max(ratios)
    assert low >= min(ratios)


# --- books ----------------------------------------------------------------------------------------------------------


def lived(calls: int = 150) -> Life:
    life = Life()
    life.calls(calls)
    life.fail()
    return life


def same_predictions(left: ProfileBook, right: ProfileBook) -> None:
    one, other = (Catalogue([work], book).estimator(live=True) for book in (left, right))
    for size in SIZES:
        facts = {"text": ValueFacts(Type("text"), Size(size))}
        first, second = one.estimate(work.spec.name, facts), other.estimate(work.spec.name, facts)
        assert first.price.p95 == pytest.approx(second.price.p95, rel=1e-3)
        assert first.latency.p95_ms == pytest.approx(second.latency.p95_ms, rel=1e-3)
        assert first.failure == pytest.approx(second.failure, abs=1e-4)
        assert first.count == second.count


def test_a_saved_book_predicts_the_same() -> None:
    life = lived()
    same_predictions(life.book, ProfileBook.from_json(life.book.to_json()))


def test_profiles_rebuilt_from_the_ledger_are_those_that_were_learned() -> None:
    life = lived()
    shuffled = list(life.facts)
    random.Random(3).shuffle(shuffled)
    assert rebuild(shuffled).to_json() == life.book.to_json()


def test_a_merged_book_remembers_the_later_calls_better() -> None:
    before, after = Life(), Life(seed=2)
    before.calls(600)
    after.calls(120, 3.0)
    merged = before.book.merge(after.book)
    size = {"text": ValueFacts(Type("text"), Size(1000))}
    found = Catalogue([work], merged).estimator().estimate(work.spec.name, size)
    assert found.price.expected == pytest.approx(45_000, rel=0.2)
    assert found.count == 720


# --- impossible facts -----------------------------------------------------------------------------------------------


FACT = CallFact("work", "1", 0, 100, Size(1), Usage(wall_ms=3.0, cpu_ms=2.0, peak_mb=50.0), Money(5), None, None, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"usage": replace(FACT.usage, cpu_ms=math.nan)}, "cpu_ms is nan"),
        ({"usage": replace(FACT.usage, cpu_ms=-1.0)}, "cpu_ms is -1.0"),
        ({"usage": replace(FACT.usage, wall_ms=math.inf)}, "wall_ms is inf"),
        ({"usage": replace(FACT.usage, cold_cpu_ms=math.nan)}, "cold_cpu_ms is nan"),
        ({"usage": replace(FACT.usage, peak_mb=-5.0)}, "peak_mb is -5.0"),
        ({"usage": replace(FACT.usage, units={"pages": math.nan})}, "unit:pages is nan"),
        ({"usage": replace(FACT.usage, reported=Money(-1))}, "reported is -1"),
        ({"output": Size(-1)}, "impossible size of a result"),
        ({"amount": Money(-7)}, "impossible price: -7 nano-USD"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("failed", [False, True])
def test_an_impossible_call_teaches_nothing_and_says_why(
    change: dict[str, Any], message: str, failed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bad = FACT._replace(**change, failed=failed)
    book = rebuild([FACT])
    before = book.to_json()
    with pytest.raises(ValueError, match=message):
        book.learn(bad)
    assert book.to_json() == before
    assert learn_all(book, [bad, FACT._replace(at_ns=1)]) == 1
    assert f"work: {message}" in caplog.text or message in caplog.text
    found = book.get("work")
    assert found is not None
    assert found.calls == 2


def test_a_strange_prediction_does_not_spoil_the_calibration() -> None:
    book = ProfileBook()
    for latency in (Latency(math.nan, math.nan), Latency(1.0, math.inf), Latency()):
        book.learn(FACT._replace(predicted_ms=latency, predicted=PriceRange(None, None, None)))
    assert book.calibration == Calibration()


def test_a_clock_that_jumps_back_loses_no_call() -> None:
    facts = [FACT._replace(at_ns=at, size=size) for at, size in ((10, 1), (20, 2), (-5, 3), (7, 4), (7, 5))]
    found = rebuild(facts).get("work")
    assert found is not None
    assert [call.size for call in found.recent.calls] == [3, 4, 5, 1, 2]


def steps() -> list[Callable[[ProfileBook], object]]:
    return [lambda book: book.merge(book), lambda book: ProfileBook.from_json(book.to_json())]


@pytest.mark.parametrize("step", steps())
def test_an_empty_book_stays_empty(step: Callable[[ProfileBook], ProfileBook]) -> None:
    assert len(step(ProfileBook())) == 0


def test_a_taught_book_leaves_the_given_one_alone() -> None:
    life = lived()
    before = life.book.to_json()
    found = taught(life.book, [FACT, FACT._replace(tool="new")])
    assert life.book.to_json() == before
    assert len(found) == 2
    known = found.get("work")
    assert known is not None
    assert known.calls == len(life.facts) + 1
