"""Random plans with random failures: the runtime against a sequential interpreter that takes each rule literally."""

import random
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.money import usd
from catp.planlang.types import Type
from catp.runtime.clock import VirtualClock
from catp.runtime.ledger import Ledger
from catp.runtime.replay import rebuild
from catp.runtime.run import RunOutcome, execute
from catp.runtime.slots import Slots
from catp.runtime.testing import CENT, FakeCatalogue, compiled
from catp.tools.spec import ToolLimits

TOOLS = ("red", "green", "blue")
RECORD = Type("json")
"""What tools return: `{"t": text}`; steps are used whole or by this field."""


def fails(rate: float, seed: int, tool: str, text: str) -> bool:
    """Whether a call fails depends on nothing but the call, so order cannot matter."""
    return random.Random(f"{seed}/{tool}/{text}").random() < rate


class Gone(Exception):
    """A value is missing in the reference."""


class Draw:
    """One random plan: its text, and what each step should give."""

    def __init__(self, rng: random.Random, steps: int) -> None:
        self.rng = rng
        self.lines = ["in n: text", "in xs: list[text]"]
        self.single = ["n"]
        self.lists = ["xs"]
        self.rules: dict[str, dict[str, Any]] = {}
        for place in range(steps):
            self.step(f"s{place}")
        outputs = ", ".join(f"{name}{'?' if rng.random() < 0.3 else ''}" for name in self.rules)
        self.fields = [name for name in self.rules if rng.random() < 0.5]
        outputs += "".join(f", {name}_t = {name}.t?" for name in self.fields)
        self.text = "\n".join([*self.lines, f"out {outputs}"]) + "\n"

    def step(self, name: str) -> None:
        rng = self.rng
        mapped = rng.random() < 0.35
        rule: dict[str, Any] = {"mapped": mapped, "tries": [], "when": None, "else": None, "quorum": 1.0}
        source = self.used(rng.choice(self.lists if mapped else self.single))
        for _ in range(rng.choice((1, 1, 2, 3))):
            extra = rng.choice([*self.single, *self.lists[1:], None])
            extra = extra and self.used(extra)
            optional = rng.random() < 0.5
            rule["tries"].append((rng.choice(TOOLS), source, extra, optional))
        each = "each " if mapped else ""
        calls = [
            f"{tool}({each}{source})" if extra is None else f"{tool}({each}{source}, [{extra}{'?' * optional}])"
            for tool, source, extra, optional in rule["tries"]
        ]
        line = f"{name} = {' | '.join(calls)}"
        if not mapped and rng.random() < 0.25:
            tested = rng.choice(self.single)
            rule["when"] = tested if tested == "n" else f"{tested}.t"
            rule["else"] = rng.choice([*self.single[1:], None, None])
            line += f' when {rule["when"]} >= "m"' + (f" else {rule['else']}" if rule["else"] else "")
        if mapped and rng.random() < 0.5:
            rule["quorum"] = 0.5
            line += " @quorum(0.5)"
        if rng.random() < 0.3:
            line += " @retry(1, backoff=10ms)"  # a deterministic failure fails again: no change of value
        self.lines.append(line)
        self.rules[name] = rule
        (self.lists if mapped else self.single).append(name)

    def used(self, name: str) -> str:
        return name if name in ("n", "xs") else name + self.rng.choice(("", ".t"))


def field_of(ref: str, value: Any) -> Any:
    """What `ref` is of the value of its root."""
    if not ref.endswith(".t"):
        return value
    return [one["t"] for one in value] if isinstance(value, list) else value["t"]


class Reference:
    """Runs a drawn plan one step after the other."""

    def __init__(self, draw: Draw, inputs: dict[str, Any], rate: float, seed: int) -> None:
        self.values: dict[str, Any] = dict(inputs)
        self.index: dict[str, list[Any]] = {}
        self.status: dict[str, str] = {}
        self.rate, self.seed, self.rules, self.fields = rate, seed, draw.rules, draw.fields
        for name, rule in draw.rules.items():
            try:
                self.status[name] = "ok"
                self.values[name] = self.mapped(name, rule) if rule["mapped"] else self.single(name, rule)
            except Gone as error:
                self.status[name] = str(error)

    def read(self, ref: str) -> Any:
        if not self.has(ref):
            raise Gone("poisoned")
        return field_of(ref, self.values[ref.removesuffix(".t")])

    def has(self, ref: str) -> bool:
        return ref.removesuffix(".t") in self.values

    def single(self, name: str, rule: dict[str, Any]) -> Any:
        if rule["when"] is not None and not self.read(rule["when"]) >= "m":
            if rule["else"] is None:
                raise Gone("skipped")
            value = self.read(rule["else"])
            self.status[name] = "skipped"
            return value
        return self.choose(rule, lambda source: self.read(source))

    def choose(self, rule: dict[str, Any], source_value: Any) -> Any:
        worst = "poisoned"
        for tool, source, extra, optional in rule["tries"]:
            try:
                shown = [str(source_value(source))]
                if extra is not None:
                    there = [self.read(extra)] if optional and self.has(extra) else []
                    shown.append(str(there if optional else [self.read(extra)]))
            except Gone:
                continue
            text = ",".join(shown)
            if not fails(self.rate, self.seed, tool, text):
                return {"t": f"{tool}<{text}>"}
            worst = "failed"
        raise Gone(worst)

    def mapped(self, name: str, rule: dict[str, Any]) -> list[Any]:
        source = rule["tries"][0][1]
        root = source.removesuffix(".t")
        items = self.index.get(root, self.values.get(root)) if root in self.values else None
        usable = [t for t in rule["tries"] if t[2] is None or t[3] or self.has(t[2])]
        if items is None or not usable:
            raise Gone("poisoned")
        results: list[Any] = []
        bad: list[str] = []
        lost = 0
        for item in items:
            if isinstance(item, Gone):
                lost += 1
                results.append(item)
                continue
            try:
                results.append(self.choose(rule, lambda _, item=item: field_of(source, item)))
            except Gone as error:
                bad.append(str(error))
                results.append(error)
        width = len(items) - lost
        if len(bad) > int((1 - rule["quorum"]) * width + 1e-9):
            raise Gone("failed" if "failed" in bad else "poisoned")
        self.index[name] = results
        return [value for value in results if not isinstance(value, Gone)]


def _takes(rng: random.Random, _: Any) -> float:
    return rng.choice((0.0, 0.0, 1.0, 2.0))


def world(rate: float, seed: int) -> tuple[VirtualClock, FakeCatalogue]:
    clock = VirtualClock()
    tools = FakeCatalogue(clock)

    def work(tool: str) -> Any:
        def run(x: Any, more: Any = None) -> dict[str, str]:
            text = ",".join([str(x)] if more is None else [str(x), str(more)])
            if fails(rate, seed, tool, text):
                raise ValueError(text[:20])
            return {"t": f"{tool}<{text}>"}

        return run

    for place, name in enumerate(TOOLS):
        rng = random.Random(f"{seed}{name}")
        limits = ToolLimits(concurrency=2) if place == 0 else ToolLimits()
        tools.add(
            name, work(name), params=("x", "more"), takes_s=partial(_takes, rng),
            limits=limits, returns=RECORD,
        )  # fmt: skip
    return clock, tools


async def run_both(seed: int, steps: int, rate: float, **options: Any) -> tuple[RunOutcome, Reference, Ledger]:
    rng = random.Random(seed)
    draw = Draw(rng, steps)
    clock, tools = world(rate, seed)
    inputs = {"n": rng.choice(("a", "z")), "xs": [f"x{i}" for i in range(rng.choice((0, 1, 3, 5)))]}
    ledger = options.pop("ledger", None) or Ledger()
    plan = compiled(draw.text, tools)
    outcome = await execute(plan, inputs, tools, ledger=ledger, clock=clock, seed=seed, **options)
    return outcome, Reference(draw, inputs, rate, seed), ledger


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 10**9), st.integers(1, 12), st.sampled_from([0.0, 0.1, 0.3, 0.6]), st.sampled_from([1, 3, 64]))
async def test_random_plans_agree_with_the_reference(seed: int, steps: int, rate: float, slots: int) -> None:
    outcome, reference, ledger = await run_both(seed, steps, rate, slots=Slots(slots))
    for name, step in outcome.steps.items():
        if step.status == "failed" and reference.rules[name]["mapped"]:
            # element by element, an own failure may come before the one upstream that would have poisoned all
            assert reference.status[name] in ("failed", "poisoned")
        else:
            assert step.status == reference.status[name], name
        assert step.has_value == (name in reference.values)
        if step.has_value:
            assert step.value == reference.values[name]
        else:
            assert step.reason
    for name in reference.fields:
        found = outcome.outputs[f"{name}_t"]
        assert found.ok == (name in reference.values)
        assert not found.ok or found.value == reference.read(f"{name}.t")
    told = rebuild(outcome.events)
    assert told.status == outcome.status
    assert told.steps == {name: step.status for name, step in outcome.steps.items()}
    assert told.spent == outcome.spent == ledger.spent
    assert told.calls == {name: step.attempts for name, step in outcome.steps.items() if step.attempts}
    assert not told.open_calls
    assert ledger.reserved == 0


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**9), st.integers(1, 25))
async def test_random_plans_never_exceed_a_cap(seed: int, cents: int) -> None:
    cap = CENT * cents
    ledger = Ledger(usd("0.01") * cents)  # type: ignore[arg-type]  # an int times Money
    outcome, _, _ = await run_both(seed, 8, 0.3, ledger=ledger)
    assert ledger.spent <= cap
    assert ledger.reserved == 0
    assert rebuild(outcome.events).spent == ledger.spent


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**9), st.floats(0.1, 6))
async def test_random_plans_end_at_their_deadline(seed: int, deadline: float) -> None:
    outcome, _, ledger = await run_both(seed, 8, 0.3, deadline_s=deadline)
    assert outcome.wall_ms <= deadline * 1e3 + 1
    assert ledger.reserved == 0
    assert not rebuild(outcome.events).open_calls


async def test_same_seed_same_events() -> None:
    first, _, _ = await run_both(11, 12, 0.3, run_id="r")
    second, _, _ = await run_both(11, 12, 0.3, run_id="r")
    assert [event.to_json() for event in first.events] == [event.to_json() for event in second.events]


@pytest.mark.parametrize("seed", range(40))
async def test_fan_out_of_twenty_never_exceeds_the_cap_and_uses_most_of_it(seed: int) -> None:
    rng = random.Random(seed)
    prices = [rng.randint(usd("0.05"), usd("0.15")) for _ in range(20)]
    clock = VirtualClock()
    tools = FakeCatalogue(clock)
    tools.add("t", takes_s=lambda _: rng.random(), actual=lambda args: prices[args["x"]], p95=usd("0.15"))
    lines = "\n".join(f"s{i} = t({i})" for i in range(20))
    plan = compiled(f"{lines}\nout {', '.join(f's{i}' for i in range(20))}", tools)
    ledger = Ledger(usd("1"))
    outcome = await execute(plan, {}, tools, ledger=ledger, clock=clock)
    assert usd("0.8") < ledger.spent <= usd("1")
    refused = [step for step in outcome.steps.values() if step.status == "refused"]
    assert len(refused) + len(ledger.rows) == 20
    assert all("the budget has" in step.reason for step in refused)
