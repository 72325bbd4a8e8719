"""Estimates of single calls as a table: what an `Estimator` says, written down for somebody who cannot ask it.

`estimates_form` asks about every tool that can be reached, then about every value that comes to be known: what the
inputs are, what is made of them, and so on, until it has asked `MOST` times. `TableEstimator` answers from the table:
exactly where the call is in it, otherwise with the call of the same tool that is most alike: the same condition first,
then the same kind of input, then the nearest size.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from pydantic import Field

from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.nodes import ToolName
from catp.planlang.passes.facts import element_of
from catp.planlang.registry_view import (
    UNPRICED,
    CallEstimate,
    Latency,
    Param,
    PriceRange,
    Size,
    Startup,
    ToolSig,
    ValueFacts,
)
from catp.planlang.types import TypeTable, parse_type
from catp.planners.protocol import PlanRequest
from catp.planners.wire_tools import Form

__all__ = ["MOST", "EstimateForm", "FactsForm", "Row", "TableEstimator", "estimates_form", "facts_form"]

MOST = 500
"""Calls in the table of one request."""

_LIST = 10
"""Elements of a list of unknown length, as the compiler assumes."""

Row = tuple[ToolName, Mapping[str, ValueFacts], CallEstimate]


class SizeForm(Form):
    """Units of an element, and elements."""

    units: int = Field(default=1, ge=0)
    count: int = Field(default=1, ge=0)


class FactsForm(Form):
    """What is known of a value."""

    type: str
    size: SizeForm = Field(default_factory=SizeForm)
    condition: str = ""

    def facts(self) -> ValueFacts:
        """Return the facts; raise `ValueError` for a type that cannot be read."""
        return ValueFacts(parse_type(self.type), Size(self.size.units, self.size.count), self.condition)


class StartForm(Form):
    """A cold start; see `catp.planlang.registry_view.Startup`."""

    price_usd: str = "0"
    ms: list[float] = Field(min_length=2, max_length=2)
    parallel: int = 1


class CallForm(Form):
    """One `CallEstimate`. `price_usd`: low, expected and p95, or null; `ms`: expected and p95."""

    price_usd: list[str] | None = Field(default=None, min_length=3, max_length=3)
    ms: list[float] = Field(default=[0.0, 0.0], min_length=2, max_length=2)
    output: FactsForm
    accuracy: float | None = None
    failure: float = 0.0
    count: int = 0
    startup: StartForm | None = None
    timed: bool = True


class EstimateForm(Form):
    """One row of the table."""

    tool: str
    args: dict[str, FactsForm] = Field(default_factory=dict)
    estimate: CallForm

    def read(self) -> Row:
        """Return the row; raise `ValueError` for an amount or type that cannot be read."""
        form = self.estimate
        prices = UNPRICED if form.price_usd is None else PriceRange(*(parse_usd(text) for text in form.price_usd))
        start = form.startup
        return (
            ToolName(self.tool),
            {name: facts.facts() for name, facts in self.args.items()},
            CallEstimate(
                prices, Latency(*form.ms), form.output.facts(), form.accuracy, form.failure, form.count,
                Startup() if start is None else Startup(parse_usd(start.price_usd), Latency(*start.ms), start.parallel),
                form.timed,
            ),
        )  # fmt: skip


class TableEstimator:
    """Implements `catp.planlang.registry_view.Estimator` with a table; earlier rows win.

    Args:
        rows: the table.
        rest: asked about tools that are not in it.
    """

    def __init__(self, rows: Iterable[Row], rest: "TableEstimator | None" = None) -> None:
        self._rest = rest
        self._exact: dict[tuple[object, ...], CallEstimate] = {}
        self._tools: dict[ToolName, list[Row]] = {}
        for tool, args, estimate in rows:
            self._exact.setdefault(_key(tool, args), estimate)
            self._tools.setdefault(tool, []).append((tool, args, estimate))

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Predict one call; raise `KeyError` for a tool that nothing is known of."""
        found = self._exact.get(_key(tool, args))
        if found is not None:
            return found
        rows = self._tools.get(tool)
        if rows is None:
            if self._rest is None:
                raise KeyError(tool)
            return self._rest.estimate(tool, args)
        return min(rows, key=lambda row: _distance(row[1], args))[2]


def estimates_form(request: PlanRequest) -> list[dict[str, Any]]:
    """Return the table of a request as JSON values, nearest to the inputs first."""
    return [
        {
            "tool": tool,
            "args": {name: facts_form(facts) for name, facts in args.items()},
            "estimate": _call_form(estimate),
        }
        for tool, args, estimate in islice(_asked(request), MOST)
    ]


def facts_form(facts: ValueFacts) -> dict[str, Any]:
    """Return facts as JSON values."""
    size = {"units": facts.size.units, "count": facts.size.count}
    return {"type": str(facts.type), "size": size, "condition": facts.condition}


def _asked(request: PlanRequest) -> Iterator[Row]:
    """Ask about each tool as if it came first, then with the first values that fit, then about each value."""
    types, seen = request.registry.types, dict[tuple[object, ...], ValueFacts]()
    for sig in request.registry:
        args = {param.name: _likely(param, request) for param in sig.params if param.required}
        yield from _ask(request, sig, args, {}, seen)
    values = {facts: None for given in request.inputs.values() for facts in _with_elements(given)}
    left = list(request.registry)
    waiting = len(left) + 1
    while len(left) < waiting:  # what one tool makes may be what another one takes
        waiting = len(left)
        for sig in list(left):
            firsts = _firsts(sig, values, types)
            if firsts is not None:
                left.remove(sig)
                yield from _ask(request, sig, firsts, values, seen)
    for value in _growing(values):
        for sig in request.registry:
            firsts = _firsts(sig, values, types)
            for name in () if firsts is None else firsts:
                param = sig.param(name)
                if firsts is not None and param is not None and types.accepts(param.type, value.type):
                    yield from _ask(request, sig, {**firsts, name: value}, values, seen)


def _ask(
    request: PlanRequest, sig: ToolSig, args: dict[str, ValueFacts], values: dict[ValueFacts, None],
    seen: dict[tuple[object, ...], ValueFacts],
) -> Iterator[Row]:  # fmt: skip
    """Ask about a call, unless that was done; what it makes joins the values."""
    key = _key(sig.name, args)
    if key in seen:
        values.update(dict.fromkeys(_with_elements(seen[key])))
        return
    try:
        estimate = request.estimator.estimate(sig.name, args)
    except KeyError:
        return
    seen[key] = estimate.output
    values.update(dict.fromkeys(_with_elements(estimate.output)))
    yield sig.name, args, estimate


def _likely(param: Param, request: PlanRequest) -> ValueFacts:
    """What a tool is called with as policies are told its price: an input or an element that fits, or one of like size.

    As in `catp.training.prompt.view`, so that prompts read the same on both sides.
    """
    for facts in request.inputs.values():
        for one in (facts, None if facts.type.item is None else element_of(facts, 1)):
            if one is not None and request.registry.types.accepts(param.type, one.type):
                return one
    units = max((facts.size.units for facts in request.inputs.values()), default=1)
    sized = param.type.name in ("image", "text", "list")
    return ValueFacts(param.type, Size(max(1, math.isqrt(units) if sized and units > 4000 else units), 1))


def _firsts(sig: ToolSig, values: Iterable[ValueFacts], types: TypeTable) -> dict[str, ValueFacts] | None:
    """The first values that a tool's required parameters take, None if there are none."""
    found = {}
    for param in sig.params:
        if param.required:
            fits = next((facts for facts in values if types.accepts(param.type, facts.type)), None)
            if fits is None:
                return None
            found[param.name] = fits
    return found


def _growing(values: dict[ValueFacts, None]) -> Iterator[ValueFacts]:
    """The values in the order in which they came to be known, those that come meanwhile included."""
    done = 0
    while done < len(values):
        yield next(islice(values, done, None))
        done += 1


def _with_elements(facts: ValueFacts) -> list[ValueFacts]:
    return [facts] if facts.type.item is None else [facts, element_of(facts, _LIST)]


def _key(tool: str, args: Mapping[str, ValueFacts]) -> tuple[object, ...]:
    return (tool, *sorted(args.items(), key=lambda item: item[0]))


def _distance(one: Mapping[str, ValueFacts], other: Mapping[str, ValueFacts]) -> tuple[float, ...]:
    """How unlike two calls of a tool are: conditions, then what they begin with, then types, then sizes."""
    shared = [(one[name], facts) for name, facts in other.items() if name in one]
    return (
        sum(a.condition != b.condition for a, b in shared),
        sum(a.condition.partition("/")[0] != b.condition.partition("/")[0] for a, b in shared),
        sum(a.type != b.type for a, b in shared),
        sum(abs(math.log((1 + a.size.units * a.size.count) / (1 + b.size.units * b.size.count))) for a, b in shared),
        abs(len(one) - len(other)),
    )


def _call_form(estimate: CallEstimate) -> dict[str, Any]:
    price, start = estimate.price, estimate.startup
    form: dict[str, Any] = {
        "price_usd": None if not price.priced else [_usd(price.low), _usd(price.expected), _usd(price.p95)],
        "ms": [estimate.latency.expected_ms, estimate.latency.p95_ms],
        "output": facts_form(estimate.output),
        "accuracy": estimate.accuracy,
        "failure": estimate.failure,
        "count": estimate.count,
        "timed": estimate.timed,
    }
    if start != Startup():
        times = [start.latency.expected_ms, start.latency.p95_ms]
        form["startup"] = {"price_usd": format_usd(start.price), "ms": times, "parallel": start.parallel}
    return form


def _usd(amount: Money | None) -> str:
    return format_usd(amount or Money(0))  # all three are known or none is
