"""Predicted price, calls and time against running random plans thousands of times in a model world."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import pytest

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.latency import Tail, after_timeout, at_least, binomial_p95, hedged, slowest_of
from catp.planlang.money import Money
from catp.planlang.nodes import Step, ToolName, step_refs
from catp.planlang.notes import step_policy
from catp.planlang.parser import parse
from catp.planlang.passes.admit import admit
from catp.planlang.passes.estimate import Assumptions
from catp.planlang.registry_view import UNPRICED, CallEstimate, Latency, PriceRange, Size, Startup, ValueFacts
from catp.planlang.render.tree import to_tree
from catp.planlang.signatures import parse_registry
from catp.planlang.types import Type, parse_type

REGISTRY = parse_registry("""
type Answer(text: text, confidence: number)
zero(a: text, b: text = ..., c: text = ...) -> Answer
one(a: text, b: text = ..., c: text = ...) -> Answer
two(a: text, b: text = ..., c: text = ...) -> Answer
pages(a: text) -> list[text]
read pick(a: text) -> image
small(a: image) -> image
ocr(a: image) -> Answer
write send(a: text) -> text
""")

ASSUME = Assumptions(accept_pass=0.6, guard_holds=0.3, list_count=6)


@dataclass
class World:
    """Every tool has one price and one latency, and fails with its own probability."""

    calls: Mapping[str, tuple[int, float, float]]
    spread: float = 1.0
    """p95 over mean latency; 1 for a fixed latency."""

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        price, ms, failure = self.calls[tool]
        sig = REGISTRY.get(tool)
        assert sig is not None
        output = ValueFacts(sig.returns, Size(1, 4 if sig.returns.name == "list" else 1))
        latency = Latency(ms, ms * self.spread)
        return CallEstimate(PriceRange(*[Money(price)] * 3), latency, output, failure=failure)


@dataclass
class Run:
    price: float = 0.0
    calls: int = 0
    ms: float = 0.0


def run_attempts(step: Step, world: World, rng: random.Random, run: Run) -> tuple[bool, float]:
    """Run one element without hedging; return whether it has a value, and how long it took."""
    policy = step_policy(step)
    elapsed = 0.0
    for attempt in step.attempts:
        price, mean, failure = world.calls[attempt.tool]
        tail = Tail.fit(Latency(mean, mean * world.spread))
        wait = policy.backoff_ms
        for number in range(policy.retries + 1):
            if number:
                elapsed, wait = elapsed + wait, wait * 2
            run.calls += 1
            run.price += price
            took = tail.quantile(rng.uniform(1e-9, 1 - 1e-9))
            limit = policy.timeout_s * 1000.0 if policy.timeout_s is not None else float("inf")
            elapsed += min(took, limit)
            if took <= limit and rng.random() >= failure:
                if attempt.accept and rng.random() >= ASSUME.accept_pass:
                    break
                return True, elapsed
    return False, elapsed


def run_plan(compiled: CompiledPlan, world: World, rng: random.Random) -> Run:
    run = Run()
    exists = {"q": True, "words": True}
    finish = dict.fromkeys(exists, 0.0)
    for step in compiled.plan.steps:
        needs = [ref for slot, ref in step_refs(step) if slot != "@after"]
        begin = max([finish[ref.root] for _, ref in step_refs(step)], default=0.0)
        finish[step.name], exists[step.name] = begin, False
        if not all(exists[ref.root] or ref.optional for ref in needs):
            continue
        if step.when and rng.random() >= ASSUME.guard_holds:
            continue
        count = 6 if step.mapped else 1
        results = [run_attempts(step, world, rng, run) for _ in range(count)]
        quorum = step_policy(step).quorum
        needed = count if quorum is None else ceil(quorum * count)
        exists[step.name] = sum(ok for ok, _ in results) >= needed
        finish[step.name] = begin + max(ms for _, ms in results)
    run.ms = max(finish.values())
    return run


def random_source(rng: random.Random, steps: int) -> str:
    lines = ["in q: text", "in words: list[text]"]
    texts, lists = ["q"], ["words"]
    for k in range(steps):
        mapped = rng.random() < 0.25
        arg = f"each {rng.choice(lists)}" if mapped else rng.choice(texts)
        attempts = []
        for tool in rng.sample(["zero", "one", "two"], rng.choice((1, 1, 2, 3))):
            extra = f", b={rng.choice(texts)}?" if rng.random() < 0.3 else ""
            attempts.append(f"{tool}({arg}{extra})" + (" if .confidence >= 0.5" if rng.random() < 0.4 else ""))
        notes = rng.choice(("", "", " @retry(1)", " @retry(3)")) + (" @quorum(0.5)" if mapped else "")
        when = f' when {rng.choice(texts)} != "x"' if rng.random() < 0.3 else ""
        lines.append(f"s{k} = {' | '.join(attempts)}{when}{notes}")
        if not mapped:
            texts.append(f"s{k}.text")
    lines.append("out " + ", ".join(f"o{k} = s{k}" for k in range(steps)))
    return "\n".join(lines) + "\n"


def worlds(rng: random.Random, failing: bool) -> World:
    def tool() -> tuple[int, float, float]:
        return rng.randrange(1, 100) * 10_000, float(rng.randrange(1, 50)), rng.choice((0.0, 0.1, 0.4)) * failing

    return World({name: tool() for name in ("zero", "one", "two")})


@pytest.mark.parametrize("seed", range(12))
def test_price_and_calls_are_the_average_of_many_runs(seed: int) -> None:
    rng = random.Random(seed)
    compiled = compile_plan(
        parse(random_source(rng, 6)), REGISTRY, estimator=(world := worlds(rng, True)), assumptions=ASSUME,
        facts={"words": ValueFacts(parse_type("list[text]"), Size(1, 6))},
    )  # fmt: skip
    runs = [run_plan(compiled, world, rng) for _ in range(2000)]
    estimate = compiled.estimate
    price = sum(run.price for run in runs) / len(runs)
    assert estimate.price.expected == pytest.approx(price, rel=0.07)
    assert estimate.calls == pytest.approx(sum(run.calls for run in runs) / len(runs), rel=0.07)
    assert max(run.calls for run in runs) <= estimate.max_calls
    assert estimate.price.p95 is not None
    assert sum(run.price <= estimate.price.p95 for run in runs) >= 0.95 * len(runs)
    assert estimate.price.low is not None
    assert estimate.price.expected is not None
    assert estimate.price.low <= estimate.price.expected <= estimate.price.p95


@pytest.mark.parametrize("seed", range(8))
def test_low_is_what_a_run_costs_if_all_goes_well(seed: int) -> None:
    rng = random.Random(seed)
    source = random_source(rng, 6)
    compiled = compile_plan(parse(source), REGISTRY, estimator=(world := worlds(rng, True)), assumptions=ASSUME)
    guarded = {step.name for step in compiled.plan.steps if step.when}
    for step in compiled.plan.steps:  # whoever cannot do without a guarded value is guarded too
        if any(ref.root in guarded and not ref.optional for _, ref in step_refs(step)):
            guarded.add(step.name)
    found = compiled.estimate.steps
    for step in compiled.plan.steps:
        well = 0 if step.name in guarded else world.calls[step.attempts[0].tool][0] * (6 if step.mapped else 1)
        expected = found[step.name].price.expected
        assert expected is not None
        assert found[step.name].price.low == min(well, expected)
    assert compiled.estimate.price.low == sum(step.price.low or 0 for step in found.values())


@pytest.mark.parametrize("seed", range(20))
def test_prices_are_always_in_order(seed: int) -> None:
    rng = random.Random(seed)
    always_failing = World(dict.fromkeys(("zero", "one", "two"), (1_000_001, 5.0, 1.0)))
    rarely_failing = World(dict.fromkeys(("zero", "one", "two"), (1_000_001, 5.0, 0.03)))
    for world in (always_failing, rarely_failing, worlds(rng, True)):
        compiled = compile_plan(parse(random_source(rng, 6)), REGISTRY, estimator=world, assumptions=ASSUME)
        for price in (compiled.estimate.price, *(step.price for step in compiled.estimate.steps.values())):
            assert price.low is not None
            assert price.expected is not None
            assert price.p95 is not None
            assert price.low <= price.expected <= price.p95


@pytest.mark.parametrize("seed", range(8))
def test_latency_without_chance_is_exact(seed: int) -> None:
    rng = random.Random(seed)
    world = worlds(rng, False)
    source = random_source(rng, 8).replace(" if .confidence >= 0.5", "").replace(' != "x"', ' == "x"')
    source = "\n".join(line.split(" when ")[0].split(" @")[0] for line in source.splitlines()) + "\n"
    compiled = compile_plan(parse(source), REGISTRY, estimator=world, assumptions=ASSUME)
    once = run_plan(compiled, world, rng).ms
    assert compiled.estimate.latency.expected_ms == pytest.approx(once)
    assert compiled.estimate.latency.p95_ms == pytest.approx(once)
    assert sum(s.latency.expected_ms for s in compiled.estimate.steps.values()) == compiled.estimate.serial_ms


@pytest.mark.parametrize(
    "choice",
    [
        "zero(q)",
        "zero(q) @retry(2, backoff=20ms)",
        "zero(q) @timeout(60ms)",
        "zero(q) @retry(1) @timeout(40ms)",
        "zero(q) if .confidence > 0.5 | one(q) if .confidence > 0.5 | two(q)",
        "zero(each words)",
        "zero(each words) | one(each words)",
    ],
)
def test_latency_of_one_step_under_chance(choice: str) -> None:
    world = World({"zero": (1, 50.0, 0.3), "one": (1, 80.0, 0.1), "two": (1, 300.0, 0.0)}, spread=2.0)
    source = f"in q: text\nin words: list[text]\na = {choice}\nout a\n"
    compiled = compile_plan(parse(source), REGISTRY, estimator=world, assumptions=ASSUME)
    rng = random.Random(5)
    times = sorted(run_plan(compiled, world, rng).ms for _ in range(6000))
    found = compiled.estimate.latency
    assert found.expected_ms == pytest.approx(sum(times) / len(times), rel=0.08)
    assert found.p95_ms == pytest.approx(times[int(0.95 * len(times))], rel=0.16)  # mixtures are read as lognormal


def simulate_hedge(attempts: list[tuple[Tail, float]], delay: float, rng: random.Random) -> float:
    begin, best, ends = 0.0, float("inf"), 0.0
    for tail, accepted in attempts:
        if begin >= best:
            break
        took = tail.quantile(rng.uniform(1e-9, 1 - 1e-9))
        ends = max(ends, begin + took)
        if rng.random() < accepted:
            best = min(best, begin + took)
            begin += delay
        else:
            begin += min(took, delay)
    return best if best < float("inf") else ends


@pytest.mark.parametrize("delay", [0.0, 30.0, 80.0, 500.0])
@pytest.mark.parametrize("spread", [1.0, 1.5, 3.0])
def test_hedged_time_is_that_of_simulated_races(delay: float, spread: float) -> None:
    attempts = [
        (Latency(60.0, 60.0 * spread), 0.7),
        (Latency(40.0, 40.0 * spread), 0.8),
        (Latency(90.0, 90.0 * spread), 1.0),
    ]
    rng = random.Random(3)
    tails = [(Tail.fit(latency), accepted) for latency, accepted in attempts]
    times = sorted(simulate_hedge(tails, delay, rng) for _ in range(8000))
    found = hedged(attempts, delay)
    assert found.expected_ms == pytest.approx(sum(times) / len(times), rel=0.05)
    assert found.p95_ms == pytest.approx(times[int(0.95 * len(times))], rel=0.12)


def test_hedging_buys_time_with_money() -> None:
    world = World({"zero": (100, 1000.0, 0.0), "one": (900, 100.0, 0.0)}, spread=2.0)

    def estimate(notes: str) -> tuple[float, int]:
        plan = parse(f"in q: text\na = zero(q) | one(q) {notes}\nout a\n")
        found = compile_plan(plan, REGISTRY, estimator=world).estimate
        assert found.price.expected is not None
        return found.latency.p95_ms, found.price.expected

    plain, late, race = estimate(""), estimate("@hedge(1s)"), estimate("@hedge(0s)")
    assert plain[0] > late[0] > race[0]
    assert plain[1] == 100 < late[1] < race[1] == 1000


def test_budget_caps_and_unknown_prices_stay_unknown() -> None:
    world = World({"zero": (5_000, 10.0, 0.5)})
    plan = parse("in q: text\na = zero(q) @retry(3) @budget($0.000006)\nb = one(q)\nout a, b\n")
    found = compile_plan(plan, REGISTRY, estimator=world).estimate
    assert found.steps[plan.steps[0].name].price == PriceRange(Money(5_000), Money(6_000), Money(6_000))
    assert found.steps[plan.steps[1].name].price == UNPRICED == found.price
    assert found.unpriced == ("b",)
    assert compile_plan(plan, REGISTRY).estimate.unpriced == ("a", "b")


class Recorder:
    """Remembers what it was asked, and says that every tool works on the condition of its first argument."""

    def __init__(self) -> None:
        self.asked: dict[str, Mapping[str, ValueFacts]] = {}

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        self.asked[tool] = args
        sig = REGISTRY.get(tool)
        assert sig is not None
        condition = f"{args['a'].condition}/{tool}"
        output = ValueFacts(sig.returns, Size(250, 7 if sig.returns.name == "list" else 1), condition)
        return CallEstimate(PriceRange(*[Money(1)] * 3), Latency(1.0, 1.0), output)


def test_what_is_known_of_values_travels_through_the_plan() -> None:
    plan = parse("""in q: text = "abcd"
in photo: image
big = small(photo)
read = ocr(big)
sheets = pages(read.text)
each_one = zero(each sheets, b=t"{q}: {read.text}", c="xyz")
last = one(each_one[0].text, b=q)
out last, n = each_one
""")
    recorder = Recorder()
    facts = {"photo": ValueFacts(Type("image"), Size(640_000), "noisy")}
    compiled = compile_plan(plan, REGISTRY, estimator=recorder, facts=facts)
    asked = recorder.asked
    assert asked["small"] == {"a": facts["photo"]}
    assert asked["ocr"]["a"] == ValueFacts(Type("image"), Size(250), "noisy/small")
    assert asked["pages"]["a"] == ValueFacts(Type("text"), Size(250), "noisy/small/ocr")
    assert asked["zero"]["a"] == ValueFacts(Type("text"), Size(250), "noisy/small/ocr/pages")
    assert asked["zero"]["b"].size == Size(4 + 2 + 250)
    assert asked["zero"]["c"].size == Size(3)
    assert asked["one"]["a"].condition == "noisy/small/ocr/pages/zero"
    assert asked["one"]["b"] == ValueFacts(Type("text"), Size(4))
    mapped = compiled.estimate.steps[plan.steps[3].name]
    assert mapped.result.size == Size(250, 7)
    assert mapped.max_calls == 7


def test_what_writes_is_only_tried_again_under_a_key() -> None:
    def calls(notes: str) -> int:
        return compile_plan(parse(f"in q: text\na = send(q) {notes}\nout a\n"), REGISTRY).estimate.max_calls

    assert (calls("@retry(2)"), calls("@retry(2) @key(q)")) == (1, 3)


def test_lists_of_unknown_length_count_as_assumed() -> None:
    plan = parse("in words: list[text]\na = zero(each words)\nout a\n")
    assert compile_plan(plan, REGISTRY, assumptions=Assumptions(list_count=3)).estimate.max_calls == 3
    known = {"words": ValueFacts(parse_type("list[text]"), Size(1, 5))}
    assert compile_plan(plan, REGISTRY, facts=known).estimate.max_calls == 5


def test_optional_references_and_order_alone_do_not_make_a_step_depend() -> None:
    world = World(dict.fromkeys(("zero", "one", "two"), (100, 1.0, 0.0)))
    source = 'in q: text\na = zero(q) when q == "x"\nb = one(q, b=a.text?)\nc = two(a.text) @after(b)\nout b, c\n'
    plan = parse(source)
    found = compile_plan(plan, REGISTRY, estimator=world, assumptions=ASSUME).estimate.steps
    assert [round(step.price.expected or 0) for step in found.values()] == [30, 100, 30]


def test_a_shared_cause_is_counted_once() -> None:
    world = World({"zero": (0, 1.0, 0.5), "one": (0, 1.0, 0.0), "two": (1000, 1.0, 0.0)})
    plan = parse("in q: text\na = zero(q)\nb = one(a.text)\nc = one(a.text, b=q)\nd = two(b.text, c.text)\nout d\n")
    assert compile_plan(plan, REGISTRY, estimator=world).estimate.price.expected == 500


@pytest.mark.parametrize("count", [1, 5, 60, 400])
@pytest.mark.parametrize("share", [0.0, 0.04, 0.06, 0.5, 0.97, 1.0])
def test_binomial_figures_agree_with_drawing(count: int, share: float) -> None:
    rng = random.Random(1)
    drawn = sorted(sum(rng.random() < share for _ in range(count)) for _ in range(3000))
    assert abs(binomial_p95(count, share) - drawn[int(0.95 * len(drawn))]) <= max(1, 0.02 * count)
    needed = ceil(0.9 * count)
    assert at_least(needed, count, share) == pytest.approx(sum(k >= needed for k in drawn) / len(drawn), abs=0.04)


def test_a_fitted_latency_has_its_mean_and_p95() -> None:
    tail = Tail.fit(Latency(100.0, 250.0))
    assert tail.quantile(0.95) == pytest.approx(250.0)
    assert sum(tail.points()) / len(tail.points()) == pytest.approx(100.0)
    assert tail.within(250.0) == pytest.approx(0.95)
    assert Tail.fit(Latency(100.0, 100.0)).within(99.0) == 0.0
    assert Tail.fit(Latency()).within(0.0) == 1.0
    assert slowest_of(Latency(100.0, 100.0), 50) == Latency(100.0, 100.0)
    assert after_timeout(Latency(100.0, 100.0), 50.0) == (Latency(50.0, 50.0), 1.0)
    assert after_timeout(Latency(100.0, 100.0), 200.0) == (Latency(100.0, 100.0), 0.0)


@dataclass
class Cold:
    """Every call costs 10 and takes 1 ms; the first of a tool 100 and 50 ms more, in each of its workers."""

    workers: int = 1

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        sig = REGISTRY.get(tool)
        assert sig is not None
        output = ValueFacts(sig.returns, Size(1, 4 if sig.returns.name == "list" else 1))
        price = PriceRange(Money(10), Money(110), Money(110))
        startup = Startup(Money(100), Latency(50.0, 50.0), self.workers)
        return CallEstimate(price, Latency(51.0, 51.0), output, startup=startup)


@pytest.mark.parametrize(
    ("text", "expected", "p95", "ms"),
    [
        ("in a: text\nx = zero(a)\nout x", 110, 110, 51.0),
        ("in a: text\nx = zero(a)\ny = zero(x.text)\nout y", 120, 220, 52.0),
        ("in a: text\nl = pages(a)\nx = zero(each l)\nout x", 250, 550, 102.0),
    ],
)
def test_a_cold_start_is_paid_once_per_tool(text: str, expected: int, p95: int, ms: float) -> None:
    estimate = compile_plan(parse(text), REGISTRY, estimator=Cold(), assumptions=ASSUME).estimate
    assert (estimate.price.expected, estimate.price.p95) == (expected, p95)
    assert estimate.latency.expected_ms == pytest.approx(ms)


@pytest.mark.parametrize(("workers", "starts"), [(1, 1), (3, 3), (16, 4)])
def test_a_map_starts_as_many_workers_as_it_can_use(workers: int, starts: int) -> None:
    text = "in a: text\nl = pages(a)\nx = zero(each l)\ny = zero(each l, b=a)\nout x, y"
    steps = compile_plan(parse(text), REGISTRY, estimator=Cold(workers), assumptions=ASSUME).estimate.steps
    _, first, second = steps.values()
    assert (first.price.expected, second.price.expected) == (4 * 10 + starts * 100, 4 * 10)
    assert first.latency.expected_ms == pytest.approx(51.0)  # the workers start at the same time
    assert second.latency.expected_ms == pytest.approx(1.0)


def test_a_map_over_an_empty_list_calls_nothing() -> None:
    text = "in words: list[text]\nx = zero(each words) @retry(2)\nout x"
    facts = {"words": ValueFacts(parse_type("list[text]"), Size(1, 0))}
    estimate = compile_plan(parse(text), REGISTRY, estimator=Cold(4), facts=facts, assumptions=ASSUME).estimate
    assert (estimate.calls, estimate.max_calls, estimate.latency) == (0, 0, Latency())
    assert (estimate.price.low, estimate.price.expected, estimate.price.p95) == (0, 0, 0)


@dataclass
class Untimed:
    """Knows prices but no times, except of `one`."""

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        sig = REGISTRY.get(tool)
        assert sig is not None
        price, known = PriceRange(*[Money(1)] * 3), tool == "one"
        return CallEstimate(price, Latency(5.0, 9.0) if known else Latency(), ValueFacts(sig.returns), timed=known)


def test_steps_of_unknown_time_are_named_and_do_not_pass_for_fast() -> None:
    text = "in a: text\nx = one(a)\ny = zero(a)\nz = one(a) | two(a)\nout x, y, z"
    compiled = compile_plan(parse(text), REGISTRY, estimator=Untimed())
    assert compiled.estimate.untimed == ("y", "z")
    verdict = admit(compiled, deadline_ms=10.0)
    assert (verdict.fit, verdict.expected_ok) == ("expected_fits", True)
    assert [(d.code, d.severity) for d in verdict.diagnostics] == [("W206", "warning")]
    assert "the time of `y`, `z` was never measured" in verdict.diagnostics[0].message
    assert admit(compiled, budget=Money(100)).fit == "fits"
    lines = to_tree(compiled)
    assert "time unknown" in lines
    assert "2 of unknown time" in lines
