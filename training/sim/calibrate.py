"""Where the simulator's distributions come from: fitted to measured calls, from any trajectory file or profile book.

    price of a tool    fee_usd + work; ln work = the level of its capability + N(0, the capability's spread)
    ln ms of a tool    ln work x slope + intercept, residual ms_spread
    one call           work proportional to size^size_exponent, times a lognormal with sd time_noise / price_noise
    score of a rival   the capability's score + N(0, its score spread), correlated price_score with ln work among rivals
    score of a plan    noise with sd score_noise

Capabilities differ in level and spread together (reading a page is dear and its rivals lie far apart; telling a text's
language costs next to nothing whoever does it). So every simulated capability takes after a measured one of its kind,
`CapabilityFit`, drawn at random and varied a little; nothing is averaged over capabilities.

`catp.training.sim.goodness` measures the same quantities on measured and on simulated calls.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory
from catp.training.evaluate.candidates import Floats
from catp.training.sim.calls import Call, Kind, calls_of, grouped, mean_known, median_log, rivals_of

__all__ = ["SCHEMA", "Calibration", "CapabilityFit", "fit", "fit_calls"]

SCHEMA = "catp.sim-calibration/1"
_FEW = 3


@dataclass(frozen=True)
class CapabilityFit:
    """Rivals measured together: mean and sd of ln work in USD, mean score, sd of the rivals' scores."""

    name: str
    kind: Kind
    level: float
    spread: float
    score: float
    score_spread: float
    tools: int


@dataclass(frozen=True)
class Calibration:
    """The simulator's distributions; `source` says what they were fitted to, `calls` to how many calls."""

    fee_usd: float
    capabilities: tuple[CapabilityFit, ...]
    ms_slope: float
    ms_intercept: float
    ms_spread: float
    size_exponent: float
    time_noise: float
    price_noise: float
    price_score: float
    score_noise: float
    failure: float
    source: str
    calls: int

    def ms(self, work_usd: float) -> float:
        """The median time of a tool whose calls cost so much, the fee not counted."""
        return math.exp(self.ms_intercept + self.ms_slope * math.log(work_usd))

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read a file that `save` wrote; raise `ValueError` naming the file if it is none."""
        data = json.loads(path.read_bytes())
        if data.get("schema") != SCHEMA:
            raise ValueError(f"{path}: expected schema {SCHEMA!r}, found {data.get('schema')!r}")
        wanted = {field.name for field in fields(cls)}
        if missing := wanted - data["fitted"].keys():
            raise ValueError(f"{path}: no figure for {', '.join(sorted(missing))}; fit it again")
        fitted = {name: data["fitted"][name] for name in wanted}
        return cls(**fitted | {"capabilities": tuple(CapabilityFit(**fit) for fit in fitted["capabilities"])})

    def like(self, kind: Kind) -> tuple[CapabilityFit, ...]:
        """The measured capabilities of a kind; all of them if there is none."""
        return tuple(fit for fit in self.capabilities if fit.kind == kind) or self.capabilities

    def save(self, path: Path, report: Mapping[str, Any] | None = None) -> None:
        """Write the figures, and how well simulated calls agree with the measured ones if `report` is given."""
        form = {"schema": SCHEMA, "simulated": "figures of catp-sim, a simulator", "fitted": asdict(self)}
        if report is not None:
            form["goodness"] = dict(report)
        path.write_text(json.dumps(form, indent=1) + "\n", encoding="utf-8")


def fit(records: Iterable[Trajectory], toolsets: Mapping[str, Toolset] | None = None, *, source: str) -> Calibration:
    """Fit all figures to measured records; raise `ValueError` if there are too few priced calls."""
    return fit_calls(calls_of(records, toolsets), source=source)


def fit_calls(calls: Sequence[Call], *, source: str, fallback: Calibration | None = None) -> Calibration:
    """Fit all figures to measured calls; what they leave open is taken from `fallback`, or is a plain default."""
    good = [call for call in calls if call.price > 0 and call.ms > 0]
    tools = grouped(good, lambda call: call.tool)
    capabilities = grouped(good, lambda call: call.capability)
    if len(tools) < _FEW or len(good) < 10 * _FEW:
        raise ValueError(f"{source}: {len(good)} priced calls of {len(tools)} tools are too few to fit a simulator to")
    fee = _fee(good)
    work = {tool: median_log([_work(c, fee) / 1e9 for c in of]) for tool, of in tools.items()}
    score = {tool: mean_known([c.relative for c in of]) or 0.0 for tool, of in tools.items()}
    slope, intercept, spread = _line(list(work.values()), [median_log([c.ms for c in of]) for of in tools.values()])
    exponent, price_noise, time_noise = _noise(tools, fee)
    rivals = rivals_of({call.tool: call.capability for call in good})
    cheap = [work[t] - float(np.mean([work[r] for r in group])) for group in rivals for t in group]
    right = [score[t] - float(np.mean([score[r] for r in group])) for group in rivals for t in group]
    usual = (_sd(cheap) if len(cheap) >= _FEW else 0.8, _sd(right) if _sd(right) > 0 else 0.1)
    noisy = _score_noise(good)
    return Calibration(
        fee_usd=fee / 1e9,
        capabilities=tuple(_capability(name, of, work, score, usual) for name, of in capabilities.items()),
        ms_slope=slope,
        ms_intercept=intercept,
        ms_spread=spread,
        size_exponent=exponent,
        time_noise=time_noise,
        price_noise=price_noise,
        price_score=_correlation(cheap, right) if _sd(right) > 0 else (fallback.price_score if fallback else 0.5),
        score_noise=noisy if noisy is not None else (fallback.score_noise if fallback else 0.05),
        failure=float(np.mean([not call.ok for call in calls])),
        source=source,
        calls=len(good),
    )


def _capability(
    name: str, calls: Sequence[Call], work: Mapping[str, float], score: Mapping[str, float], usual: tuple[float, float]
) -> CapabilityFit:
    tools = sorted({call.tool for call in calls})
    found = mean_known([call.score for call in calls])
    return CapabilityFit(
        name, calls[0].kind, float(np.mean([work[t] for t in tools])),
        _sd([work[t] for t in tools]) if len(tools) > 1 else usual[0],
        0.75 if found is None else found,
        _sd([score[t] for t in tools]) if len(tools) > 1 else usual[1], len(tools),
    )  # fmt: skip


def _sd(values: Sequence[Any]) -> float:
    return float(np.std(np.array(values, dtype=float), ddof=1)) if len(values) > 1 else 0.0


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    slope, intercept = np.polyfit(np.array(x), np.array(y), 1) if _sd(x) > 0 else (0.0, float(np.mean(y)))
    residual = np.array(y) - (slope * np.array(x) + intercept)
    return float(slope), float(intercept), _sd(residual.tolist())


def _fee(calls: Sequence[Call]) -> float:
    """What every call costs, in nano-USD: the lowest price, if one call in 20 is hardly dearer; else nothing."""
    prices = np.array([call.price for call in calls])
    lowest = float(prices.min())
    return lowest if float(np.mean(prices < 1.1 * lowest)) >= 0.05 else 0.0


def _work(call: Call, fee: float) -> float:
    """The part of a price above the fee; prices are whole nano-USD, so what is lost in rounding counts as half one."""
    return max(call.price - fee, 0.5)


def _noise(tools: Mapping[str, Sequence[Call]], fee: float) -> tuple[float, float, float]:
    """The median exponent of work against size, and the sd of what is left of ln work and ln time, over all tools."""
    exponents: list[float] = []
    prices: list[Floats] = []
    times: list[Floats] = []
    for of in tools.values():
        size = _centred([math.log(c.size) for c in of])
        price, time = _centred([math.log(_work(c, fee)) for c in of]), _centred([math.log(c.ms) for c in of])
        varies = float(size @ size) > 0.25 * len(of)  # less than half a doubling says nothing about size
        if varies:
            exponents.append(float(size @ price) / float(size @ size))
        prices.append(_centred(price - exponents[-1] * size) if varies else price)
        times.append(_centred(time - float(size @ time) / float(size @ size) * size) if varies else time)
    exponent = min(max(float(np.median(exponents)), 0.0), 1.5) if exponents else 1.0
    return exponent, _robust_sd(np.concatenate(prices)), _robust_sd(np.concatenate(times))


def _centred(values: Sequence[float] | Floats) -> Floats:
    return np.array(values) - float(np.median(values))


def _robust_sd(values: Any) -> float:
    """Half the width of the middle 68 %: a few odd calls do not decide it."""
    low, high = np.quantile(values, (0.16, 0.84))
    return float(high - low) / 2.0


def _score_noise(calls: Sequence[Call]) -> float | None:
    """The sd of scores about their set's mean that the tool does not explain; None if only means are known."""
    scored = [call for call in calls if call.relative is not None]
    rest: list[float] = []
    for of in grouped(scored, lambda call: call.tool).values():
        mean = float(np.mean([call.relative for call in of]))
        rest += [call.relative - mean for call in of if call.relative is not None]
    return _robust_sd(np.array(rest)) if any(abs(value) > 1e-9 for value in rest) else None


def _correlation(x: Sequence[Any], y: Sequence[Any]) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if _sd(x) > 0 and _sd(y) > 0 else 0.0
