"""Starting a plan before it is finished: the steps a policy has decided on are called while it decides on the rest.

    writer ──step decided──> Prefix: may it start? ──> EarlyCalls ──plan chosen──> the run adopts what the plan contains

Only what cannot do harm starts early: a step without conditions, elements, approval, pool or key; its first tool, if
that is pure or reads, is there, has no rate to keep and a known price; with arguments that are inputs of the run or
results of steps started early. A call whose result is kept, or that another run is making, is left to the run.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from catp.planlang.compiled import CompiledPlan
from catp.planlang.errors import PlanError
from catp.planlang.nodes import Input, Output, Plan, Ref, Step, refs_in, step_refs
from catp.planlang.notes import step_policy
from catp.planlang.registry_view import ValueFacts
from catp.planlang.types import ANY
from catp.runtime.early import EarlyCalls, early_key
from catp.runtime.early_call import EarlyCall
from catp.runtime.flights import Flights
from catp.runtime.limits import ReserveAt, upper_price
from catp.runtime.program import AttemptInfo, BoundArg, build_program
from catp.runtime.reuse import content_key
from catp.runtime.values import Missing, Values, accepts
from catp.tools.builtin.facts import type_of
from catp.tools.catalogue import Catalogue
from catp.tools.lifetime import lifetime_in
from catp.tools.sizes import size_of
from catp.tools.spec import ToolSpec

__all__ = ["Prefix"]

_AT_ONCE = 8
"""Early calls under way at a time, of all tools: the plan may yet be another one."""

_HARMLESS = frozenset({"timeout", "retry", "cache", "priority", "hedge"})
"""Annotations that do not keep a step from starting early."""


class Prefix:
    """The steps of the greedy plan that have been decided, started as their inputs come.

    Args:
        calls: Makes the calls.
        catalogue: The tools.
        inputs: Of the run, by name.
        reserve: Which price of a call must fit.
        flights: Results that are kept; None if none are.
    """

    def __init__(
        self, calls: EarlyCalls, catalogue: Catalogue, inputs: Mapping[str, Any], reserve: ReserveAt,
        flights: Flights | None = None,
    ) -> None:  # fmt: skip
        self.calls = calls
        self.problem: str | None = None
        self._catalogue, self._reserve, self._flights = catalogue, reserve, flights
        self._estimator = catalogue.estimator(live=True)
        self._inputs = dict(inputs)
        self._values = Values(inputs, lambda name: "it has no value yet")
        self._waiting: list[Step] = []
        self._started: list[Step] = []
        self._looking: set[asyncio.Task[None]] = set()
        self._closed = False

    def decided(self, plan: int, number: int, step: Step) -> None:
        """Take a step; only those of the greedy plan (number 0) are started."""
        if plan == 0 and not self._closed:
            self._waiting.append(step)
            self._advance()

    async def keep(self, compiled: CompiledPlan) -> None:
        """The plan is chosen: stop what is not in it, and start nothing more."""
        self._close()
        await self.calls.keep(self._contained(compiled), "not in the plan that was chosen")

    async def drop(self, why: str) -> None:
        """There is no plan: stop everything."""
        self._close()
        await self.calls.keep((), why)

    def plan(self) -> Plan:
        """What was started, as a plan: for the record, if no other plan came of it."""
        known = {step.name for step in self._started}
        roots = {ref.root for step in self._started for _, ref in step_refs(step)} - known
        types = {name: type_of(value) for name, value in self._inputs.items() if name in roots}
        return Plan(
            tuple(self._started),
            tuple(Output(step.name, Ref(step.name)) for step in self._started),
            tuple(Input(name, type_) for name, type_ in types.items()),
        )

    def _close(self) -> None:
        self._closed = True
        for task in self._looking:
            task.cancel()

    def _contained(self, compiled: CompiledPlan) -> list[EarlyCall]:
        """The calls that the first attempts of a plan's steps make, as far as their arguments are known."""
        values, found = Values(self._inputs, lambda name: "it has no value yet"), list[EarlyCall]()
        known = set(self._inputs)
        for info in build_program(compiled).steps.values():
            attempt = info.attempts[0]
            roots = {ref.root for arg in attempt.args for ref in refs_in(arg.value)}
            if info.mapped or info.pin is not None or not roots <= known:
                continue
            call = self._same(attempt, values)
            if call is None or call in found:
                continue
            found.append(call)
            value = _value(call, attempt)
            if value is not None:
                values.bind(info.name, value.value)
                known.add(info.name)
        return found

    def _same(self, attempt: AttemptInfo, values: Values) -> EarlyCall | None:
        try:
            key = early_key(self._catalogue.get(attempt.tool), values.arguments("", 0, attempt, None))
        except (KeyError, Missing):
            return None
        return None if key is None else self.calls.get(key)

    # --- starting ---------------------------------------------------------------------------------------------------

    def _advance(self, _ended: EarlyCall | None = None) -> None:
        """Start whatever can be; nothing that goes wrong here may disturb the planner."""
        if self._closed:
            return
        try:
            for step in self._waiting[:]:
                if self._startable(step) is None:
                    self._waiting.remove(step)
                elif self._ready(step):
                    self._waiting.remove(step)
                    self._start(step)
        except Exception as error:  # a defect of a tool's price model, of a plan that a server made up
            self._closed, self.problem = True, f"no step was started early any more: {type(error).__name__}: {error}"

    def _startable(self, step: Step) -> ToolSpec | None:
        """Return the tool of a step that may start before the plan is known, None if it may not."""
        if step.when or step.mapped or not step.attempts or any(note.name not in _HARMLESS for note in step.notes):
            return None
        try:
            spec = self._catalogue.get(step.attempts[0].tool)
        except KeyError:
            return None
        if spec.signature.effects not in ("pure", "read") or spec.limits.rate_per_s is not None:
            return None
        return spec if spec.unavailable() is None else None

    def _ready(self, step: Step) -> bool:
        """True if the arguments of a step are there and its tool has room."""
        spec = self._catalogue.get(step.attempts[0].tool)
        full = spec.limits.concurrency is not None and self.calls.running(spec.name) >= spec.limits.concurrency
        known = all(ref.root in self._values for arg in step.attempts[0].args for ref in refs_in(arg.value))
        return known and not full and self.calls.running() < _AT_ONCE

    def _start(self, step: Step) -> None:
        attempt, spec = self._attempt(step), self._catalogue.get(step.attempts[0].tool)
        try:
            args = self._values.arguments(step.name, 0, attempt, None)
            policy = step_policy(step)
        except (Missing, PlanError):
            return
        key = early_key(spec, args)
        if key is None:
            return
        if (known := self.calls.get(key)) is not None:  # the same call under another name
            self._over(step, attempt, known)
            return
        life_s = lifetime_in(spec.signature.effects, spec.cache_ttl_s, policy.cache_ttl)
        if life_s is not None and self._flights is not None:
            task = asyncio.ensure_future(self._start_unless_known(step, spec, attempt, args, key))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)
        else:
            self._call(step, spec, attempt, args, key)

    async def _start_unless_known(
        self, step: Step, spec: ToolSpec, attempt: AttemptInfo, args: dict[str, Any], key: str
    ) -> None:
        own = content_key(spec, args)
        assert self._flights is not None
        if own is not None and not await self._flights.known(own) and not self._closed:
            self._call(step, spec, attempt, args, key)

    def _call(self, step: Step, spec: ToolSpec, attempt: AttemptInfo, args: dict[str, Any], key: str) -> None:
        types = {param.name: param.type for param in spec.signature.params}
        facts = {name: ValueFacts(types.get(name, ANY), size_of(value)) for name, value in args.items()}
        try:
            price = upper_price(self._estimator.estimate(spec.name, facts).price, self._reserve)
        except Exception:  # a prediction that fails is none, and what has no price does not start
            return
        if price is None:
            return
        policy = step_policy(step)
        timeout_s = min(spec.limits.timeout_s, policy.timeout_s or spec.limits.timeout_s)

        def ended(call: EarlyCall) -> None:
            self._over(step, attempt, call)

        if self.calls.start(step.name, spec, args, key=key, price=price, timeout_s=timeout_s, ended=ended) is not None:
            self._started.append(step)

    def _over(self, step: Step, attempt: AttemptInfo, call: EarlyCall) -> None:
        """A call has ended: steps that wait for its value may go."""
        value = _value(call, attempt)
        if value is not None:
            self._values.bind(step.name, value.value)
        if not self._closed:
            asyncio.get_running_loop().call_soon(self._advance)

    def _attempt(self, step: Step) -> AttemptInfo:
        attempt = step.attempts[0]
        params = [param.name for param in self._catalogue.get(attempt.tool).signature.params]
        args = tuple(
            BoundArg(arg.name or params[place], arg.value, each=False) for place, arg in enumerate(attempt.args)
        )
        return AttemptInfo(attempt.tool, args, (), attempt.accept, mapped=False)


class _Value:
    """A value that is there; it may be None."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _value(call: EarlyCall, attempt: AttemptInfo) -> _Value | None:
    if call.result is None or accepts(call.result.value, attempt.accept) is not None:
        return None
    return _Value(call.result.value)
