"""The tools of the demo: they compute something that can be seen, and play the time, the price and the faults.

    call ── function(args) ── wait on the clock ── usage as a provider would report it ── its price model

Times and units are drawn for each tool from a generator of its own, so that runs on a virtual clock come out alike.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from catp.dashboard.demo_words import FUNCTIONS
from catp.planlang.registry_view import Effect, Size
from catp.runtime.clock import Clock
from catp.tools.catalogue import Catalogue
from catp.tools.contract import Contract
from catp.tools.decorator import tool
from catp.tools.errors import ToolFailed, ToolTimeout
from catp.tools.price import ComputePrice, DatedPrice, Free, PerCall, PerToken, PerUnit, PriceTable, Unpriced
from catp.tools.profile import ProfileBook
from catp.tools.sizes import input_units, size_of
from catp.tools.spec import BackendResult
from catp.tools.usage import PriceModel, Usage, carrying

__all__ = ["Stage", "Trick", "demo_catalogue"]

_MEASURED = 40
"""Calls that each tool is known from before the first run."""

_PIXELS = 192 * 168


@dataclass(frozen=True, slots=True)
class Trick:
    """What a call does out of the ordinary: it fails, or takes and costs so many times as much as it should."""

    error: str = ""
    slower: float = 1.0
    dearer: float = 1.0


@dataclass
class Stage:
    """Where the tools play: the time they wait on, their seed, and what their next calls are to do.

    `tricks` are used up call by call; `outage` are tools that only fail, `chance` is False if no call may fail by
    itself, `pace` makes all calls so much slower.
    """

    clock: Clock
    seed: int = 0
    tricks: dict[str, list[Trick]] = field(default_factory=dict)
    outage: set[str] = field(default_factory=set)
    chance: bool = True
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class _Act:
    """How a tool plays. `units` gives what its price depends on, from the arguments and a factor around 1;
    `size` is what it used to be given, in characters."""

    name: str
    capability: str
    price: Callable[[Clock], PriceModel]
    seconds: float
    accuracy: float | None = None
    units: Callable[[Mapping[str, Any], float], dict[str, float]] = lambda args, by: {}
    cpu_ms: float = 0.0
    fails: float = 0.0
    timeout_s: float = 20.0
    cache: str = ""
    size: int = 80
    effects: Effect = "pure"


def _fixed(price: PriceModel) -> Callable[[Clock], PriceModel]:
    return lambda clock: price


def _risen(clock: Clock) -> PriceModel:
    """$0.0040 a page, $0.0060 since a week before the clock was handed over: a price that has a history."""
    day = datetime.fromtimestamp(clock.now_ns() / 1e9, UTC) + timedelta(days=7)
    rows = DatedPrice(PerUnit("pages", "0.0040"), end=day), DatedPrice(PerUnit("pages", "0.0060"), start=day)
    return PriceTable(rows, now=lambda: datetime.fromtimestamp(clock.now_ns() / 1e9, UTC))


def _tokens(out: float, seen: float = 0.0) -> Callable[[Mapping[str, Any], float], dict[str, float]]:
    def units(args: Mapping[str, Any], by: float) -> dict[str, float]:
        read = seen or sum(len(str(value)) for value in args.values()) / 4
        return {"tokens_in": float(round(read)), "tokens_out": float(round(out * by))}

    return units


def _count(unit: str, amount: float) -> Callable[[Mapping[str, Any], float], dict[str, float]]:
    return lambda args, by: {unit: float(max(1, round(amount * by)))}


_ACTS = (
    _Act("denoise_fast", "denoise", _fixed(ComputePrice()), 0.4, 0.80, cpu_ms=380.0),
    _Act("denoise_deep", "denoise", _fixed(PerCall("0.0120")), 1.7, 0.94),
    _Act("colourise", "colourise", _fixed(PerUnit("tiles", "0.0025")), 2.3, 0.86, _count("tiles", 6)),
    _Act("upscale", "upscale", _fixed(PerCall("0.0080")), 4.2, 0.90, timeout_s=13.0),
    _Act("tiles", "tiles", _fixed(Free()), 0.1, 1.0),
    _Act("caption_small", "caption", _fixed(PerToken(input="0.0010", output="0.0040")), 0.8, 0.70, _tokens(40, 600),
         cache="6h"),
    _Act("caption_large", "caption", _fixed(PerToken(input="0.0080", output="0.0240")), 2.2, 0.92, _tokens(120, 900),
         fails=0.07),
    _Act("ocr", "ocr", _risen, 1.2, 0.91, _count("pages", 1), fails=0.03, cache="6h"),
    _Act("language", "language", _fixed(Free()), 0.06, 0.95),
    _Act("translate", "translate", _fixed(PerToken(input="0.0060", output="0.0180")), 1.1, 0.88, _tokens(60)),
    _Act("summarise", "summarise", _fixed(PerToken(input="0.0030", output="0.0150")), 1.4, 0.84, _tokens(90)),
    _Act("sentiment", "sentiment", _fixed(PerCall("0.0004")), 0.3, 0.85),
    _Act("objects", "objects", _fixed(Unpriced()), 0.9, 0.78),
    _Act("compose", "report", _fixed(PerUnit("sections", "0.0060")), 1.6, 0.95, _count("sections", 3),
         size=420),
    _Act("publish", "publish", _fixed(PerCall("0.0200")), 0.7, 0.99, effects="write"),
)  # fmt: skip


def demo_catalogue(stage: Stage) -> Catalogue:
    """Return the tools `demo.*`, each known from forty earlier calls."""
    book = ProfileBook()
    specs = []
    for act in _ACTS:
        plain = tool(
            namespace="demo", capability=act.capability, placement="thread", effects=act.effects, timeout=act.timeout_s,
            accuracy=act.accuracy, cache=act.cache or False,
        )(FUNCTIONS[act.name]).spec  # fmt: skip
        backend = _Backend(act, Contract(plain.signature, plain.types), stage)
        specs.append(replace(plain, backend=backend, price=act.price(stage.clock)))
        for usage, size in backend.earlier_calls():
            book.observe(plain.name, usage, size=size, output=_result_size(act.name, size))
        if act.accuracy is not None:
            book.score(plain.name, act.accuracy, count=_MEASURED)
    return Catalogue(specs, book)


def _result_size(name: str, size: int) -> Size:
    if name in ("denoise_fast", "denoise_deep", "colourise"):
        return Size(size)
    return Size(4 * size) if name == "upscale" else Size(size // 6, 6) if name == "tiles" else Size(80)


class _Backend:
    """One tool on the stage."""

    def __init__(self, act: _Act, contract: Contract, stage: Stage) -> None:
        self._act, self._contract, self._stage = act, contract, stage
        self._function = FUNCTIONS[act.name]
        self._rng = np.random.default_rng([stage.seed, zlib.crc32(act.name.encode())])

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Compute at once, then wait as long as the tool would have taken."""
        self._contract.check_args(args)
        stage, act, name = self._stage, self._act, self._contract.signature.name
        waiting = stage.tricks.get(act.name)
        trick = waiting.pop(0) if waiting else Trick()
        unlucky = self._rng.random() < act.fails and stage.chance
        usage = self._usage(args, input_units({key: size_of(value) for key, value in args.items()}), trick)
        took_s = usage.wall_ms / 1e3
        error = trick.error or ("the service is out of order" if act.name in stage.outage else "")
        error = error or ("503, too many requests" if unlucky else "")
        began = stage.clock.now_ns()
        try:
            await stage.clock.sleep(min(timeout, 0.3 * took_s if error else took_s))
        except BaseException as stopped:
            share = min(1.0, (stage.clock.now_ns() - began) / 1e9 / max(took_s, 1e-9))
            raise carrying(stopped, _part(usage, share)) from None
        if error:
            raise ToolFailed(
                name, error, usage=Usage(wall_ms=300 * took_s), error_type="Unavailable", billing="nothing"
            )
        if took_s > timeout:
            raise ToolTimeout(name, f"stopped after {timeout:g} s", usage=_part(usage, timeout / took_s))
        try:
            value = self._function(**args)
        except ValueError as problem:
            raise ToolFailed(name, str(problem), usage=usage, error_type="Unreadable") from problem
        return BackendResult(self._contract.check_result(value, usage), usage)

    async def close(self) -> None:
        """Nothing to release."""

    def earlier_calls(self) -> list[tuple[Usage, int]]:
        """Use of earlier calls and the size of their input, of the same distribution as those that come."""
        sizes = [self._act.size]
        if self._contract.signature.params[0].type.name == "image":
            sizes = [_PIXELS, _PIXELS, 4 * _PIXELS, _PIXELS // 6]
        known = [sizes[number % len(sizes)] for number in range(_MEASURED)]
        return [(self._usage({"text": "x" * min(size, self._act.size)}, size, Trick()), size) for size in known]

    def _usage(self, args: Mapping[str, Any], size: int, trick: Trick) -> Usage:
        act = self._act
        larger = max(1.0, size / _PIXELS) ** 0.5 if act.seconds > 0.2 else 1.0
        slow = float(self._rng.lognormal(0.0, 0.22)) * larger * trick.slower * self._stage.pace
        by = float(self._rng.lognormal(0.0, 0.18)) * trick.dearer
        cpu_ms = act.cpu_ms * slow
        return Usage(act.seconds * slow * 1e3, cpu_ms, peak_mb=180.0 if cpu_ms else 0.0, units=act.units(args, by))


def _part(usage: Usage, share: float) -> Usage:
    """What a call had used when it was stopped."""
    units = {name: float(round(share * amount)) for name, amount in usage.units.items()}
    return replace(usage, wall_ms=share * usage.wall_ms, cpu_ms=share * usage.cpu_ms, units=units)
