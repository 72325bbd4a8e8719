"""One line of the request log: what a request was, what it took and what that cost. Everything else follows from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from catp.planlang.money import Money, format_usd, parse_usd
from catp.serving.engine.errors import FinishReason
from catp.serving.engine.request import Slo
from catp.serving.metering.prices import Spent
from catp.serving.server.events import Seconds

__all__ = ["SCHEMA", "RequestRecord", "kept"]

SCHEMA = "catp.request/1"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """An accepted request that ended.

    Args:
        id, tenant, model, endpoint: whose and what; `adapter` by name, empty for the base model.
        time: seconds since 1970 at its end.
        finish, code: how it ended (`catp.serving.server.events`).
        prompt_tokens, cached_tokens, output_tokens, forced_tokens, preemptions: counts.
        seconds: device seconds; `spent`: their price, None unpriced.
        queued, ttft, tpot, e2e: seconds, None if there was no such moment.
        slo: what was expected of it.
        plans: distinct plans it wrote.
    """

    id: str
    tenant: str
    model: str
    endpoint: str
    time: float
    finish: FinishReason
    code: str = ""
    adapter: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    forced_tokens: int = 0
    preemptions: int = 0
    seconds: Seconds = field(default_factory=Seconds)
    spent: Spent | None = None
    queued: float | None = None
    ttft: float | None = None
    tpot: float | None = None
    e2e: float = 0.0
    slo: Slo = field(default_factory=Slo)
    plans: int = 0

    def to_line(self) -> str:
        """Return it as one line of JSON; money as decimal US dollars."""
        spent = self.spent
        data = asdict(replace(self, spent=None))
        data["spent"] = spent and {
            kind: format_usd(getattr(spent, kind)) for kind in ("fresh", "cached", "output")
        }  # fmt: skip
        return json.dumps({"schema": SCHEMA, **data}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> "RequestRecord":
        """Read a line; raise `ValueError` if it is none of this schema."""
        try:
            data: dict[str, Any] = json.loads(line)
            if data.pop("schema") != SCHEMA:
                raise ValueError(f"not a line of {SCHEMA}")
            spent = data.pop("spent")
            money = None if spent is None else Spent(**{kind: parse_usd(text) for kind, text in spent.items()})
            return cls(**{**data, "seconds": Seconds(**data["seconds"]), "slo": Slo(**data["slo"]), "spent": money})
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a line of {SCHEMA}: {error!r}") from error

    @property
    def price(self) -> Money | None:
        """What it cost."""
        return None if self.spent is None else self.spent.total


def kept(record: RequestRecord) -> Mapping[str, bool]:
    """Return which of its expectations a request met; those it had none of are left out.

    A request that did not end as it should met none.
    """
    ended = record.finish in ("stop", "length")
    found = {}
    for name in ("ttft", "tpot", "e2e"):
        limit, took = getattr(record.slo, name), getattr(record, name)
        if limit is not None:
            one_token = name == "tpot" and took is None
            found[name] = ended and (one_token or (took is not None and took <= limit))
    return found
