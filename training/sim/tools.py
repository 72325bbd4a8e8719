"""Simulated tools: what one can do, what a call costs and takes, and how good its result is.

With u = units of the input, e the size exponent, u0 the usual size of such an input and (u / u0)^e = g:

    expected price  = fee + rate x g                     charged: fee + rate x g x noise, rounded up to a nano-USD
    expected time   = wait + work x g                    taken: times noise
    accuracy(u)     = clip(peak - fall x |log2(u / u_best)|, 0.02, 0.995)
    legible         = product over kinds of (1 - sensitivity x severity), 0 if below the tool's threshold
    quality         = quality of the argument(s) x accuracy(u) x legible

A restoring tool multiplies the severity of its kind of damage by 1 - efficacy x product over the other kinds of
(1 - interference x severity), and the quality by 1 - harm x (1 - severity): it may do harm where there is nothing to
restore. Noise is lognormal with mean 1, so expected figures are exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from catp.planlang.money import Money
from catp.planlang.types import Type
from catp.training.evaluate.candidates import Floats
from catp.training.sim.calibrate import Calibration
from catp.training.sim.calls import Kind

__all__ = [
    "FILE",
    "IMAGE",
    "READING",
    "TEXT",
    "USUAL_SIZE",
    "Capability",
    "Role",
    "SimTool",
    "charged",
    "measured_kind",
    "noise",
    "rivals",
]

IMAGE, TEXT, FILE, READING = Type("image"), Type("text"), Type("file"), Type("Reading")

USUAL_SIZE = {"image": 250_000.0, "text": 2_000.0, "file": 100_000.0}
"""Units of an ordinary input by type: pixels, characters, bytes. Records count 50 units."""

Role: TypeAlias = Literal["restore", "read", "label", "join", "reduce", "render"]

_LOWEST, _HIGHEST = 0.02, 0.995


@dataclass(frozen=True)
class Capability:
    """What several rival tools are for: parameters, result, and the kind of damage they restore, if they do.

    `kinds` is how many kinds of damage a result can have.
    """

    name: str
    role: Role
    params: tuple[tuple[str, Type], ...]
    returns: Type
    kinds: int = 0
    damage: int | None = None
    description: str = ""


@dataclass(frozen=True)
class SimTool:
    """One tool. Prices in nano-USD, times in ms, `usual` and `best` in units; see the module for the formulae."""

    name: str
    capability: Capability
    fee: float
    rate: float
    wait: float
    work: float
    exponent: float
    usual: float
    peak: float
    fall: float
    best: float
    sensitivity: tuple[float, ...]
    threshold: float
    efficacy: float
    interference: float
    harm: float
    failure: float
    price_noise: float
    time_noise: float

    def load(self, units: float) -> float:
        """Return g: how much work an input of so many units is, 1 for the usual size."""
        return float((max(units, 1.0) / self.usual) ** self.exponent)

    def price(self, units: float) -> float:
        """Return the expected price in nano-USD."""
        return self.fee + self.rate * self.load(units)

    def ms(self, units: float) -> float:
        """Return the expected time in milliseconds."""
        return self.wait + self.work * self.load(units)

    def accuracy(self, units: float) -> float:
        """Return how right the result is for an undamaged input of this size."""
        far = abs(math.log2(max(units, 1.0) / self.best))
        return min(max(self.peak - self.fall * far, _LOWEST), _HIGHEST)

    def legible(self, severity: Floats) -> Floats:
        """Return the share that survives the damage; `severity` is by (kind, *state)."""
        found = np.ones(severity.shape[1:])
        for kind, sensitivity in enumerate(self.sensitivity[: len(severity)]):
            found = found * (1.0 - sensitivity * severity[kind])
        return np.where(found < self.threshold, 0.0, found)

    def restored(self, severity: Floats, quality: Floats) -> tuple[Floats, Floats]:
        """Return severity and quality after this restoring tool."""
        kind = self.capability.damage
        assert kind is not None
        efficacy = np.full(severity.shape[1:], self.efficacy)
        for other in range(len(severity)):
            if other != kind:
                efficacy = efficacy * (1.0 - self.interference * severity[other])
        after = severity.copy()
        after[kind] = severity[kind] * (1.0 - efficacy)
        return after, quality * (1.0 - self.harm * (1.0 - severity[kind]))


def rivals(
    capability: Capability, count: int, calibration: Calibration, kinds: int, rng: np.random.Generator
) -> list[SimTool]:
    """Make the rival tools of one capability.

    They take after a measured capability of the same kind. Among rivals a dearer tool is usually the better one
    (`Calibration.price_score`), but one in seven is a trap: dearer and worse. Measured scores include damaged inputs,
    so that of undamaged ones is taken to lie half way to 1.
    """
    c = calibration
    models = c.like(measured_kind(capability))
    model = models[int(rng.integers(len(models)))]
    centre = model.level + 0.3 * rng.normal()
    spread = model.spread * math.exp(0.2 * rng.normal())
    mean_score = min(max((1.0 + rng.normal(model.score, 0.1)) / 2.0, 0.4), 0.95)
    usual = USUAL_SIZE.get(capability.params[0][1].required.name, 50.0)
    lean = min(max(c.price_score, 0.2), 0.95)
    found = []
    for number in range(count):
        dear = rng.normal()
        better = lean * dear + math.sqrt(1.0 - lean**2) * rng.normal()
        if count > 1 and rng.random() < 1 / 7:
            dear, better = abs(dear) + 0.5, -abs(better) - 0.5
        price = math.exp(centre + spread * dear)
        fixed = rng.uniform(0.05, 0.6)
        ms = c.ms(price) * math.exp(c.ms_spread * rng.normal())
        waiting = rng.uniform(0.1, 0.6)
        found.append(
            SimTool(
                name=f"{capability.name}_{_LETTERS[number]}",
                capability=capability,
                fee=(c.fee_usd + fixed * price) * 1e9,
                rate=(1.0 - fixed) * price * 1e9,
                wait=waiting * ms,
                work=(1.0 - waiting) * ms,
                exponent=max(0.2, c.size_exponent + 0.15 * rng.normal()),
                usual=usual,
                peak=min(max(mean_score + model.score_spread * better, 0.15), 0.98),
                fall=abs(0.03 * rng.normal()),
                best=usual * 2.0 ** rng.normal(0.0, 1.5),
                sensitivity=_sensitivity(kinds, better, rng),
                threshold=float(rng.choice((0.0, 0.15, 0.3))),
                efficacy=_squash(0.65 + 0.15 * better + 0.08 * rng.normal(), 0.1, 0.97),
                interference=_squash(0.3 - 0.15 * better + 0.1 * rng.normal(), 0.0, 0.8),
                harm=_squash(abs(0.08 * rng.normal()) + 0.02, 0.0, 0.4),
                failure=_failure(c.failure, rng),
                price_noise=c.price_noise * rng.uniform(0.5, 1.5),
                time_noise=c.time_noise * rng.uniform(0.5, 1.5),
            )
        )
    return found


def charged(tool: SimTool, load: float, factor: float) -> Money:
    """Return what a call with this metered load is charged."""
    return Money(math.ceil((tool.fee + tool.rate * load) * factor))


def noise(sd: float, rng: np.random.Generator) -> float:
    """Draw a lognormal factor of mean 1."""
    return math.exp(sd * float(rng.normal()) - sd * sd / 2.0)


def measured_kind(capability: Capability) -> Kind:
    """Which measured capabilities the tools of a simulated one take after."""
    if capability.role in ("restore", "read"):
        return "restore" if capability.role == "restore" else "read"
    return "look" if capability.params[0][1] in (IMAGE, FILE) else "label"


_LETTERS: Sequence[str] = [*"abcdefghijklmnopqrstuvwxyz"]


def _sensitivity(kinds: int, better: float, rng: np.random.Generator) -> tuple[float, ...]:
    """How much each kind of damage takes from the result; good tools stand more."""
    return tuple(_squash(0.5 - 0.18 * better + 0.2 * rng.normal(), 0.05, 0.98) for _ in range(kinds))


def _failure(rate: float, rng: np.random.Generator) -> float:
    """Most tools hardly fail; some fail often. The floor is the simulator's own: measured local tools do not fail."""
    return float(rng.choice((0.0, 0.01, 0.03, 0.10), p=(0.4, 0.3, 0.2, 0.1))) + rate


def _squash(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))
