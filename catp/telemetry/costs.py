"""What a settled call cost, as attributes: exact decimal strings under our names, floats under those of other readers.

Only calls carry the foreign names, never the run: readers add up what they find, and would count every cent twice. A
call whose price nobody knows has `catp.cost.unpriced` and no amount under any name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catp.planlang.money import NANO_PER_USD, Money, format_usd, parse_usd
from catp.telemetry.names import Catp, Conventions, GenAI, Reader

__all__ = ["CallCost", "dollars"]

_CURRENCY = "USD"


def dollars(amount: Money) -> float:
    """Nano-USD as a float of US dollars, for readers that want one."""
    return amount / NANO_PER_USD


@dataclass(frozen=True, slots=True)
class CallCost:
    """The money side of one `node.settled` event. `amount` None: unpriced. `read` and `written` are for tokens."""

    amount: Money | None
    saved: Money
    sources: tuple[str, ...]
    read: Money
    written: Money

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "CallCost":
        """Read the data of the event; `rows` may be missing."""
        rows: Sequence[Mapping[str, Any]] = data.get("rows") or ()
        amount = data.get("amount")
        return cls(
            None if amount is None else parse_usd(amount),
            _sum(row.get("saved") for row in rows),
            tuple(sorted({row["source"] for row in rows if row.get("source")})),
            _sum(row.get("amount") for row in rows if row.get("unit") == "tokens_in"),
            _sum(row.get("amount") for row in rows if row.get("unit") == "tokens_out"),
        )

    @classmethod
    def of_planning(cls, price: Money | None) -> "CallCost":
        """What a planner said it cost; it is told of in full, by the span of planning alone."""
        return cls(price, Money(0), ("estimated" if price is None else "measured",), Money(0), Money(0))

    def attributes(self, conventions: Conventions, *, model_call: bool) -> dict[str, Any]:
        """Return the attributes of the call's span."""
        found: dict[str, Any] = {}
        if self.sources:
            found[Catp.COST_SOURCE] = list(self.sources)
        if self.saved:
            found[Catp.SAVED] = format_usd(self.saved)
        if self.amount is None:
            return {**found, Catp.UNPRICED: True}
        found |= {
            Catp.COST: format_usd(self.amount),
            Catp.CURRENCY: _CURRENCY,
            Reader.LLM_COST: dollars(self.amount),
            Reader.MLFLOW_COST: json.dumps(
                {
                    "input_cost": dollars(self.read),
                    "output_cost": dollars(self.written),
                    "total_cost": dollars(self.amount),
                }
            ),
        }
        if conventions is Conventions.DEFAULT:
            found[GenAI.COST] = dollars(self.amount)
        elif model_call:
            found |= {
                GenAI.COST_AMOUNT: dollars(self.amount),
                GenAI.COST_CURRENCY: _CURRENCY,
                GenAI.COST_SOURCE: "provider" if self.sources == ("provider",) else "local",
            }
        return found


def _sum(amounts: Any) -> Money:
    return Money(sum(parse_usd(amount) for amount in amounts if amount is not None))
