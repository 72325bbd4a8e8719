"""Running a simulated plan: what is drawn for each call, when calls start, what they are charged, what comes out.

    start of a step   when all it uses is there; a map's elements start together, with as many workers as needed
    price of a call   (fee + rate x load) x factor of the price table x factor of a price change, rounded up
    failure           a failed call is charged; its step gives nothing, and what needs it is not run
    score             mean over wanted outputs, 0 for one that is lost or left out; each is Beta-distributed about the
                      true score with sd `Calibration.score_noise`

What is drawn for a call belongs to the case and the call, not to the plan: two plans of one case that make the same
call see the same time, price and failure, as they would if the call had been made once and shared.
"""

import math
import zlib
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from catp.planlang.money import NANO_PER_USD
from catp.training.data.canonical import canonical_plan
from catp.training.data.graph import plan_graph
from catp.training.data.trajectory import (
    Event,
    InputInfo,
    Objective,
    Outcome,
    Plan,
    Policy,
    Provenance,
    Request,
    Split,
    ToolsetRef,
    Trajectory,
)
from catp.training.sim.behaviour import price_scale
from catp.training.sim.plans import to_plan
from catp.training.sim.space import Picks, Space, Value
from catp.training.sim.task import Case
from catp.training.sim.tools import charged, noise

__all__ = ["SOURCE", "Ran", "Simulation", "toolset_id"]

SOURCE = "simulated: catp-sim, a seeded simulator; nothing was run or measured"
_VERSION = "catp-sim/1"
_METRIC = "simulated quality"
_UNIT = {"image": "pixels", "text": "chars", "file": "bytes"}


@dataclass(frozen=True, slots=True)
class Ran:
    """One execution: price in nano-USD, the scores of the outputs that came out, and whether prices changed in it."""

    events: tuple[Event, ...]
    price: int
    latency_ms: float
    serial_ms: float
    parts: dict[str, float]
    score: float
    changed: int


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What one call draws."""

    load: float
    ms: float
    failed: bool


class Simulation:
    """Executions of plans in one case."""

    def __init__(self, space: Space, *, repeat: int = 0) -> None:
        self.space, self.case = space, space.case
        self._repeat = repeat
        self._calls: dict[int, tuple[_Drawn, ...]] = {}
        self._names: dict[int, str] = {}
        self._scores: dict[int, float] = {}

    def run(self, picks: Picks) -> Ran:
        """Execute a plan."""
        steps = list(self.space.calls(picks))
        names = self.names(picks)
        ends: dict[int, float] = {}
        begun: list[tuple[float, int, Value, int, _Drawn]] = []
        for step in steps:
            if any(arg.tool is not None and arg.number not in ends for arg in step.args):
                continue
            start = max((ends[arg.number] for arg in step.args if arg.tool is not None), default=0.0)
            drawn = self._drawn(step)
            begun += [(start, len(begun) + place, step, place, call) for place, call in enumerate(drawn)]
            if not any(call.failed for call in drawn):
                ends[step.number] = round(start + max(call.ms for call in drawn), 3)
        begun.sort(key=lambda entry: entry[:2])
        events, price, changed = [], 0, 0
        for number, (start, _, step, place, call) in enumerate(begun, 1):
            amount, applies = self._amount(step, call, start, number)
            price += amount
            changed += applies
            element = place if step.type.item is not None else None
            events.append(_event(names[step.number], step, element, start, call, amount))
        parts = {
            want.name: self._score(value)
            for value, want in zip(picks, self.case.task.wanted, strict=True)
            if value is not None and value.number in ends
        }
        latency = max((event.end_ms for event in events), default=0.0)
        serial = round(sum(event.end_ms - event.start_ms for event in events), 3)
        score = round(sum(parts.values()) / len(picks), 6)
        return Ran(tuple(events), price, latency, serial, parts, score, changed)

    def names(self, picks: Picks) -> dict[int, str]:
        """The names of the plan's steps, by the number of the call."""
        steps = to_plan(self.space, picks).steps
        return {value.number: step.name for value, step in zip(self.space.calls(picks), steps, strict=True)}

    def plan(self, picks: Picks) -> Plan:
        """The record of a plan, in its canonical form."""
        view = self.case.task.world.view
        return plan_graph(canonical_plan(to_plan(self.space, picks), view), view)

    def trajectory(
        self, picks: Picks, *, id: str, dataset: str, policy: Policy, split: Split | None, toolset: ToolsetRef
    ) -> Trajectory:
        """Execute a plan and record it."""
        case, ran = self.case, self.run(picks)
        lost = len(ran.parts) < len(picks)
        return Trajectory(
            trajectory_id=id,
            dataset=dataset,
            group=_group(case),
            candidate_set=case.id,
            split=split,
            request=_request(case),
            toolset=toolset,
            objective=Objective(alpha=case.alpha, price_scale_usd=_usd(price_scale(case.task))),
            policy=policy,
            plan=self.plan(picks),
            events=list(ran.events),
            outcome=Outcome(
                status="ok" if not lost else "degraded" if ran.parts else "failed",
                score=ran.score,
                metric=_METRIC,
                price_usd=_usd(ran.price),
                latency_ms=ran.latency_ms,
                serial_ms=ran.serial_ms,
                quality_parts=ran.parts,
            ),
            provenance=Provenance(
                source=SOURCE, license="Apache-2.0", hardware="none: simulated", engine_version=_VERSION,
                seed=case.task.world.seed, notes=_notes(case, ran),
            ),
        )  # fmt: skip

    def _drawn(self, step: Value) -> tuple[_Drawn, ...]:
        found = self._calls.get(step.number)
        if found is None:
            tool = step.tool
            assert tool is not None
            rng = self.case.rng(2, self._repeat, zlib.crc32(self._way(step).encode()))
            ms = tool.ms(step.units)
            found = self._calls[step.number] = tuple(
                _Drawn(
                    tool.load(step.units) * noise(tool.price_noise, rng),
                    max(0.001, round(ms * noise(tool.time_noise, rng), 3)),
                    bool(rng.random() < tool.failure),
                )
                for _ in range(step.calls)
            )
        return found

    def _way(self, value: Value) -> str:
        """How a value is made, in words: the same for the same call, whatever else was looked at."""
        if value.tool is None:
            return value.name
        if value.number not in self._names:
            self._names[value.number] = f"{value.name}({','.join(self._way(arg) for arg in value.args)})"
        return self._names[value.number]

    def _amount(self, step: Value, call: _Drawn, start: float, number: int) -> tuple[int, bool]:
        assert step.tool is not None
        factor, change = self.case.factors[step.tool.name], self.case.change
        applies = change is not None and change.applies(step.tool, start, number)
        if change is not None and applies:
            factor *= change.factor
        return charged(step.tool, call.load, factor), applies

    def _score(self, value: Value) -> float:
        if value.number not in self._scores:
            rng = self.case.rng(3, self._repeat, zlib.crc32(self._way(value).encode()))
            sd = self.case.task.world.calibration.score_noise
            self._scores[value.number] = round(_beta(self.space.true_score(value), sd, rng), 6)
        return self._scores[value.number]


def toolset_id(case: Case) -> str:
    """Tools with other prices are another toolset."""
    world = case.task.world.id
    return world if case.table == 0 else f"{world}-p{case.table}"


def _group(case: Case) -> str:
    return case.task.id if case.table == 0 else f"{case.task.id}-p{case.table}"


def _event(name: str, step: Value, element: int | None, start: float, call: _Drawn, amount: int) -> Event:
    return Event(
        node=name, element=element, tool=step.name, status="error" if call.failed else "ok", start_ms=start,
        end_ms=round(start + call.ms, 3), price_usd=_usd(amount), error="simulated failure" if call.failed else None,
    )  # fmt: skip


def _request(case: Case) -> Request:
    inputs = []
    for (name, type_), size, label in zip(case.task.inputs, case.sizes, case.labels, strict=True):
        unit = _UNIT[(type_.item if type_.item is not None else type_).name]
        items = {"items": size.count} if type_.item is not None else {}
        inputs.append(InputInfo(name=name, type=str(type_), size={unit: size.units, **items}, condition=label))  # type: ignore[dict-item]  # one of the units allowed
    return Request(
        text=case.text, lang="en", inputs=inputs, wanted=[str(want.type) for want in case.task.wanted],
        outputs=[want.name for want in case.task.wanted], template=case.template,
    )  # fmt: skip


def _notes(case: Case, ran: Ran) -> str:
    notes = ["simulated", f"shape {case.task.shape}", f"price table {case.table}"]
    if case.change is not None:
        notes.append(f"{case.change}; {ran.changed} calls of this plan charged by it")
    return "; ".join(notes)


def _usd(nano: int) -> Decimal:
    return Decimal(nano) / NANO_PER_USD


def _beta(mean: float, sd: float, rng: np.random.Generator) -> float:
    """Draw from the Beta distribution with this mean, and this sd as far as the mean allows it."""
    room = mean * (1.0 - mean)
    if room < 1e-9 or sd <= 0.0:
        return mean
    weight = room / min(sd * sd, room / 2.0) - 1.0
    found = float(rng.beta(mean * weight, (1.0 - mean) * weight))
    return found if math.isfinite(found) else mean
