"""How well are prices and times predicted? Real calls on inputs of every size, each predicted before it is made.

Calls of the first part only teach. Those of the second are measured: predicted, made, compared, and learned, as in use.
Beside this, `frozen` shows how the predictions would have fared without learning in the second part.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from catp.planlang.registry_view import CallEstimate, ValueFacts
from catp.planlang.types import ANY
from catp.tools.bench.damage import Random
from catp.tools.bench.varied import CAPABILITIES, varied
from catp.tools.call_fact import CallFact
from catp.tools.catalogue import Catalogue
from catp.tools.coverage import CheckedCall, Quantity
from catp.tools.errors import ToolError
from catp.tools.estimator import Forecast
from catp.tools.price import total
from catp.tools.profile import ProfileBook
from catp.tools.sizes import input_units, size_of
from catp.tools.spec import ToolSpec

__all__ = ["Calibrated", "calibrate", "can_be_calibrated"]

Progress = Callable[[int, int, str], None]
"""Called with calls done, calls in all, and the tool at work."""


@dataclass(frozen=True)
class Calibrated:
    """The measured calls, and what was predicted of them."""

    calls: tuple[CheckedCall, ...]
    frozen: tuple[CheckedCall, ...]
    """The same calls beside predictions made from the first part alone."""
    learned: int
    """Calls of the first part."""
    facts: tuple[CallFact, ...]
    """All calls, in the order they were made."""
    seconds: float


def can_be_calibrated(spec: ToolSpec) -> bool:
    """True if there are inputs for this tool, and it can run here."""
    return spec.capability in CAPABILITIES and spec.unavailable() is None


async def calibrate(
    catalogue: Catalogue, names: Collection[str], *, calls: int, seed: int = 0, progress: Progress | None = None
) -> Calibrated:
    """Make `calls` measured calls of the named tools, after as many to learn from; leaves idle workers to the caller.

    Starts from what the catalogue's profiles know. Tools take turns, one call at a time, so that none is charged for
    what another does to memory and caches. `seed` fixes inputs and order, not what the calls take.
    """
    session = _Session(catalogue)
    random = np.random.default_rng(seed)
    started = time.monotonic()
    checked: list[CheckedCall] = []
    unlearned: list[CheckedCall] = []
    facts: list[CallFact] = []
    for number, spec in enumerate(_turns([catalogue.get(name) for name in names], 2 * calls, random)):
        if number == calls:
            session.freeze()
        call = await session.call(spec, varied(spec.capability, random))
        facts.append(call.fact)
        if number >= calls:
            checked.append(call.checked(call.forecast))
            unlearned.append(call.checked(call.frozen))
        if progress is not None:
            progress(number + 1, 2 * calls, spec.name)
    return Calibrated(tuple(checked), tuple(unlearned), calls, tuple(facts), time.monotonic() - started)


def _turns(specs: list[ToolSpec], calls: int, random: Random) -> Iterator[ToolSpec]:
    made = 0
    while made < calls:
        for place in random.permutation(len(specs))[: calls - made]:
            made += 1
            yield specs[int(place)]


@dataclass(frozen=True, slots=True)
class _Call:
    fact: CallFact
    forecast: Forecast
    frozen: Forecast

    def checked(self, forecast: Forecast) -> CheckedCall:
        fact = self.fact
        price = latency = None
        if not fact.failed and forecast.price is not None and fact.amount is not None:
            price = Quantity(forecast.price, fact.amount)
        if not fact.failed and forecast.latency_ms is not None:
            latency = Quantity(forecast.latency_ms, fact.usage.wall_ms)
        return CheckedCall(fact.tool, price, latency, fact.failed)


class _Session:
    def __init__(self, catalogue: Catalogue) -> None:
        self._profiles = ProfileBook().merge(catalogue.profiles)
        self._catalogue = catalogue
        self._estimator = catalogue.with_profiles(self._profiles).estimator(live=True)
        self._frozen = self._estimator

    def freeze(self) -> None:
        """Keep a second estimator that learns nothing from here on."""
        kept = ProfileBook.from_json(self._profiles.to_json())
        self._frozen = self._catalogue.with_profiles(kept).estimator(live=True)

    async def call(self, spec: ToolSpec, args: Mapping[str, Any]) -> _Call:
        """Predict, call, learn."""
        sizes = {name: size_of(value) for name, value in args.items()}
        facts = {name: ValueFacts(ANY, size) for name, size in sizes.items()}
        guess = self._estimator.estimate(spec.name, facts)
        forecast, frozen = self._estimator.forecast(spec.name, facts), self._frozen.forecast(spec.name, facts)
        fact = await _made(spec, args, input_units(sizes), guess)
        self._profiles.learn(fact)
        return _Call(fact, forecast, frozen)


async def _made(spec: ToolSpec, args: Mapping[str, Any], size: int, guess: CallEstimate) -> CallFact:
    try:
        done = await spec.backend.call(args, timeout=spec.limits.timeout_s)
        usage, output, failed = done.usage, size_of(done.value), False
    except ToolError as error:
        usage, output, failed = error.usage, None, True
    return CallFact(
        spec.name, spec.version, time.time_ns(), size, output, usage, total(spec.price.charge(usage)),
        guess.price if guess.price.priced else None, guess.latency if guess.timed else None, failed,
    )  # fmt: skip
