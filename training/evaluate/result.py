"""What an evaluation found: one planner, one protocol, the whole sweep of alpha. `to_json` is its file form."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from catp.planlang.money import Money, format_usd
from catp.training.evaluate.calibration import Calibration
from catp.training.evaluate.latency import Latency
from catp.training.evaluate.pareto import Point
from catp.training.evaluate.regret import Regret

__all__ = ["SCHEMA", "AlphaRow", "BudgetCheck", "Evaluation", "PriceError", "usd_text"]

SCHEMA = "catp.evaluation/1"


@dataclass(frozen=True)
class AlphaRow:
    """What was reached at one alpha, and how long the chosen plans take."""

    alpha: float
    regret: Regret
    latency: Latency


@dataclass(frozen=True)
class BudgetCheck:
    """Choosing at `alpha` under a budget of `factor` x the median predicted price of each set.

    Only plans whose predicted price fits are offered; a violation is a choice that in truth cost more than the budget.
    """

    alpha: float
    factor: float
    asked: int
    refused: int
    """Sets in which no plan was predicted to fit."""
    violations: float | None
    """Share of violations among choices with a known price; None if there was none."""


@dataclass(frozen=True)
class PriceError:
    """Predicted against measured price of the chosen plans. All but `n` are None if nothing can be compared."""

    n: int
    ratio: float | None
    """Summed prediction over summed measurement."""
    relative: float | None
    """Mean of |prediction - measurement| / measurement, over measurements above 0."""
    covered: float | None
    """Share of measurements at or below the predicted 95th percentile."""


@dataclass(frozen=True)
class Evaluation:
    """One planner's figures. Regrets are over covered choices; a chooser among measured plans covers everything."""

    planner: str
    protocol: str
    dataset: str
    sets: int
    """Inputs it was judged on; several times the same where a protocol repeats them."""
    groups: int
    rows: tuple[AlphaRow, ...]
    points: tuple[Point, ...]
    oracle: tuple[Point, ...]
    reference: Point | None
    hv_ratio: float | None
    sparsity: float | None
    calibration: Calibration | None
    valid: float = 1.0
    """Share of requests that were answered with a valid plan."""
    coverage: float = 1.0
    """Share of valid plans whose outcome on the input is known."""
    budget: BudgetCheck | None = None
    decide_ms: float | None = None
    """Mean time of a decision, measured here."""
    planner_usd: float | None = None
    """Mean price of a decision, nano-USD."""
    price_error: PriceError | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    """Requests without a valid plan, by what went wrong."""
    sees_outcomes: bool = False
    notes: Sequence[str] = ()

    def at(self, alpha: float) -> AlphaRow | None:
        """Return the row of an alpha, None if it was not asked for or nothing was covered."""
        return next((row for row in self.rows if row.alpha == alpha), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; prices are decimal strings in US dollars."""
        found = asdict(self)
        for row in found["rows"]:
            row["regret"]["price_usd"] = usd_text(row["regret"].pop("price"))
        for point in [*found["points"], *found["oracle"], *([found["reference"]] if found["reference"] else [])]:
            point["price_usd"] = usd_text(point.pop("price"))
        found["planner_usd"] = usd_text(self.planner_usd)
        return {"schema": SCHEMA, **found}


def usd_text(nano: float | None) -> str | None:
    """Return a mean amount in nano-USD as a decimal string, rounded to a nano-USD."""
    return None if nano is None else format_usd(Money(round(nano)))
