"""`catp.trajectory/1`: one executed plan, with what it was asked, what it used, what it cost and how good it was.

One record is one line of a JSONL file. Amounts of money are decimal strings in US dollars (numbers are read, too);
`Decimal` inside, exact to a nano-USD. Unknown fields are refused. Fields in the order of the file:

    who and where   schema trajectory_id dataset group candidate_set split
    what was asked  request toolset objective
    who decided     policy          propensities, for off-policy estimates
    what was run    plan events
    what came out   outcome
    where it is from provenance
"""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from catp.planlang.money import Money, usd

__all__ = [
    "SCHEMA", "Event", "InputInfo", "Objective", "Outcome", "Plan", "PlanNode", "Policy", "Price", "Provenance",
    "Request", "Split", "SplitName", "ToolsetRef", "Trajectory", "nano",
]  # fmt: skip

SCHEMA: Literal["catp.trajectory/1"] = "catp.trajectory/1"


def _amount(value: Any) -> Any:
    """Take a decimal string or a number; floats by their shortest digits, so that 0.1 stays 0.1."""
    if isinstance(value, bool):
        raise ValueError("an amount in US dollars, not a truth value")
    if not isinstance(value, str | int | float):
        return value
    try:
        return Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation as error:
        raise ValueError("not a decimal amount such as '0.02'") from error


Price = Annotated[
    Decimal,
    BeforeValidator(_amount),
    Field(allow_inf_nan=False),
    PlainSerializer(lambda value: format(value, "f"), return_type=str, when_used="json"),
]
"""US dollars."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number, never NaN or infinite."""

SplitName = Literal["train", "val", "test"]


def nano(price: Decimal) -> Money:
    """Return a price as integer nano-USD, rounded half to even."""
    return usd(price)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Split(_Record):
    """Which side of which split a record is on.

    `name` is the main split, by `group` (tasks): no group is on two sides. The others are finer: `inputs` by
    `candidate_set` (held-out inputs of known tasks), `phrasing` by the templates of the request.
    """

    name: SplitName
    inputs: SplitName | None = None
    phrasing: SplitName | None = None


class InputInfo(_Record):
    """One input of the request: its name, type and size; `condition` is what a look at it says (`noisy`).

    `size` counts `pixels`, `chars`, `rows` or `bytes` (the mean of a list's elements) and `items` of a list. Older
    files name the unit directly.
    """

    name: str | None = None
    type: str
    size: dict[Literal["pixels", "chars", "rows", "bytes", "items"], int] | None = None
    sha256: str | None = None
    condition: str | None = None
    pixels: int | None = Field(default=None, ge=0)
    chars: int | None = Field(default=None, ge=0)
    size_source: str | None = None

    @property
    def units(self) -> int | None:
        """The size in whatever unit it is given, None if it is not."""
        sizes: list[int | None] = [n for unit, n in (self.size or {}).items() if unit != "items"]
        return next((n for n in (*sizes, self.pixels, self.chars) if n is not None), None)


class Request(_Record):
    """What was asked: the words, their language (ISO 639-1), the inputs, and the wanted outputs by type.

    `wanted` names types in order, `outputs` gives the names if they are known. `template` is the phrasing's id.
    """

    text: str | None = None
    lang: str | None = None
    inputs: list[InputInfo] = Field(default_factory=list)
    wanted: list[str] = Field(default_factory=list)
    outputs: list[str] = Field(default_factory=list)
    template: str | None = None


class ToolsetRef(_Record):
    """Which tools were on offer: an id and the digest of the toolset file (`catp.toolset/1`)."""

    id: str
    sha256: str | None = None


class Objective(_Record):
    """What was optimised, as far as it is known; see `catp.planners.protocol.Objective`."""

    alpha: float | None = Field(default=None, ge=0, le=1)
    budget_usd: Price | None = None
    deadline_ms: Finite | None = None
    price_scale_usd: Price | None = None


class Policy(_Record):
    """Who chose the plan. `propensity` is the probability of this plan under the policy, before it was drawn.

    `candidates_offered` counts the plans the policy could have chosen among.
    """

    name: str | None = None
    version: str | None = None
    checkpoint_sha: str | None = None
    decoding: str | None = None
    propensity: float | None = Field(default=None, gt=0, le=1)
    logprob: float | None = Field(default=None, le=0, allow_inf_nan=False)
    candidates_offered: int | None = Field(default=None, ge=1)


class PlanNode(_Record):
    """One step: its name in the plan, the tool, and the constant arguments."""

    id: str
    tool: str
    args: dict[str, Any] = Field(default_factory=dict)


class Plan(_Record):
    """The plan as a graph, and as text if it was written in the plan language.

    `edges` are `[from, to]` or `[from, to, port]`; `from` is a node, the name of an input, or `input`.
    `canonical_hash` is `catp.planlang.digest.digest` of the text.
    """

    language: str | None = None
    text: str | None = None
    nodes: list[PlanNode]
    edges: list[Annotated[list[str], Field(min_length=2, max_length=3)]]
    canonical_hash: str | None = None


class Event(_Record):
    """One call. Times are milliseconds since the plan began; memory is the peak in MB; `element` counts a map's calls.

    `shared` is true if the call was made once and used by several plans with the same prefix: its price and time are
    those of the one real call.
    """

    node: str
    element: int | None = Field(default=None, ge=0)
    attempt: int = Field(default=1, ge=1)
    tool: str | None = None
    status: Literal["ok", "error", "timeout", "cancelled", "cached"]
    queued_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    start_ms: float = Field(ge=0, allow_inf_nan=False)
    end_ms: float = Field(ge=0, allow_inf_nan=False)
    cpu_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    cpu_mem_mb: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gpu_mem_mb: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    price_usd: Annotated[Price, Field(ge=0)] | None = None
    price_model: str | None = None
    shared: bool | None = None
    error: str | None = None


class Outcome(_Record):
    """What came of it. `score` is absent where nobody could score it: such a record still teaches prices.

    `latency_ms` is the length of the critical path, `serial_ms` the sum of all calls. `quality_parts` are the scores
    of the single outputs. `price_usd` is the sum of the events' prices, absent if one of them is unknown.
    """

    status: Literal["ok", "degraded", "failed", "cancelled"]
    score: float | None = Field(default=None, allow_inf_nan=False)
    metric: str | None = None
    score_direction: Literal["higher", "lower"] = "higher"
    score_suspect: bool = False
    price_usd: Annotated[Price, Field(ge=0)] | None = None
    latency_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    serial_ms: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    quality_parts: dict[str, Finite] | None = None


class Provenance(_Record):
    """Where the record is from. `source` says `simulated` in its first word for anything that was not really run."""

    source: str | None = None
    license: str | None = None
    hardware: str | None = None
    engine_version: str | None = None
    logged_at: str | None = None
    seed: int | None = None
    notes: str | None = None
    timing_quantised_100ms: bool | None = None


class Trajectory(_Record):
    """One executed plan. `to_line` and `from_json` are exact inverses up to the spelling of amounts."""

    schema_: Literal["catp.trajectory/1"] = Field(default=SCHEMA, alias="schema")
    trajectory_id: str
    dataset: str
    group: str
    candidate_set: str
    split: Split | None = None
    request: Request
    toolset: ToolsetRef | str
    objective: Objective = Objective()
    policy: Policy = Policy()
    plan: Plan
    events: list[Event]
    outcome: Outcome
    provenance: Provenance = Provenance()

    @classmethod
    def from_json(cls, data: Any) -> "Trajectory":
        """Read one record; raise pydantic's `ValidationError` (`catp.training.data.validate` explains it)."""
        return cls.model_validate(data)

    def to_line(self) -> str:
        """Return the record as one line of JSON, without what is absent."""
        return self.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=False)
