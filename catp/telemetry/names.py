"""Every name that telemetry writes, and nothing else: when a convention changes, this is the module to change.

`Catp` names are ours and stable. `GenAI` names follow the OpenTelemetry GenAI conventions, all of them still
"Development" (github.com/open-telemetry/semantic-conventions-genai, read in September 2026). `Reader` names are what
Langfuse, Phoenix and MLflow look for.

`OTEL_SEMCONV_STABILITY_OPT_IN` switches between two versions of the GenAI names:

| | default (1.41) | `gen_ai_latest_experimental` |
|---|---|---|
| price of a call | `gen_ai.usage.cost`, on every call | `gen_ai.usage.cost.{amount,currency,source}`, on model calls |
| tokens | metric `gen_ai.client.token.usage` | (replaced by metrics that nobody reads yet: left out) |
| metric of prices | - | `gen_ai.client.operation.cost` |
"""

import os
from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = [
    "END_FIELDS",
    "EVENT_FIELDS",
    "SCOPE",
    "STEP",
    "Catp",
    "Conventions",
    "GenAI",
    "Kind",
    "Metric",
    "Operation",
    "Reader",
    "captures_content",
]

SCOPE: Final = "catp"
"""The instrumentation scope of every span and metric."""


class Catp:
    """Our own attributes. Money is a decimal string of US dollars; a price nobody knows has no amount."""

    RUN_ID: Final = "catp.run.id"
    RUN_STATUS: Final = "catp.run.status"
    RUN_RESUMED: Final = "catp.run.resumed"
    AGENT: Final = "catp.agent.name"
    PROJECT: Final = "catp.project"
    POLICY: Final = "catp.policy"
    PLAN_HASH: Final = "catp.plan.hash"
    PLAN_NODES: Final = "catp.plan.n_nodes"
    PLAN_CANDIDATES: Final = "catp.plan.candidates"
    GIVEN_UP: Final = "catp.plan.given_up"
    BUDGET: Final = "catp.budget.amount"
    COST: Final = "catp.cost.amount"
    CURRENCY: Final = "catp.cost.currency"
    ESTIMATED: Final = "catp.cost.estimated"
    RESERVED: Final = "catp.cost.reserved"
    OVERRUN: Final = "catp.cost.overrun"
    OVER_CAP: Final = "catp.budget.exceeded"
    BUDGET_SCOPE: Final = "catp.budget.scope"
    BUDGET_LEVEL: Final = "catp.budget.level"
    BUDGET_SPENT: Final = "catp.budget.spent"
    COST_SOURCE: Final = "catp.cost.source"
    UNPRICED: Final = "catp.cost.unpriced"
    SAVED: Final = "catp.cost.saved"
    QUALITY: Final = "catp.quality.predicted"
    NODE: Final = "catp.node.id"
    ATTEMPT: Final = "catp.node.attempt"
    ELEMENT: Final = "catp.node.element"
    PARENTS: Final = "catp.node.parents"
    SLACK: Final = "catp.node.slack_ms"
    CRITICAL: Final = "catp.node.critical"
    CAUSE: Final = "catp.node.cause"
    OUTCOME: Final = "catp.node.outcome"
    REASON: Final = "catp.node.reason"
    CACHED: Final = "catp.node.cached"
    KEPT: Final = "catp.node.kept"
    TOOL: Final = "catp.tool.name"
    TOOL_VERSION: Final = "catp.tool.version"
    EDGE_NODE: Final = "catp.edge.node"
    EDGE_PORT: Final = "catp.edge.port"
    EDGE_ELEMENT: Final = "catp.edge.element"
    REFUSAL: Final = "catp.refusal.kind"
    REFUSAL_LIMIT: Final = "catp.refusal.limit"
    REFUSAL_CAUSE: Final = "catp.refusal.cause"
    REFUSAL_SHORT: Final = "catp.refusal.short"


EVENT_FIELDS: Final = {
    "step": Catp.NODE, "tool": Catp.TOOL, "reason": Catp.REASON, "reserved": Catp.RESERVED, "amount": Catp.COST,
    "overrun": Catp.OVERRUN, "over_cap": Catp.OVER_CAP, "scope": Catp.BUDGET_SCOPE, "level": Catp.BUDGET_LEVEL,
    "spent": Catp.BUDGET_SPENT, "cap": Catp.BUDGET,
}  # fmt: skip
"""What is kept of a runtime event that becomes an event on the run's span, `catp.` before its own name."""

END_FIELDS: Final = {
    "reason": Catp.REASON, "kept": Catp.KEPT, "limit": Catp.REFUSAL_LIMIT, "cause": Catp.REFUSAL_CAUSE,
    "short": Catp.REFUSAL_SHORT,
}  # fmt: skip
"""What is kept of the end of a step or call that never started."""

STEP: Final = "step"
"""First word of the name of a span for a step that ended without a call; its status follows."""


class Operation:
    """Values of `gen_ai.operation.name`, which are also the first words of span names."""

    RUN: Final = "invoke_workflow"
    PLAN: Final = "plan"
    TOOL: Final = "execute_tool"
    CHAT: Final = "chat"


class GenAI:
    """Attributes of the GenAI conventions, and the general ones they refer to."""

    OPERATION: Final = "gen_ai.operation.name"
    WORKFLOW: Final = "gen_ai.workflow.name"
    PROVIDER: Final = "gen_ai.provider.name"
    MODEL: Final = "gen_ai.request.model"
    MAX_TOKENS: Final = "gen_ai.request.max_tokens"
    TEMPERATURE: Final = "gen_ai.request.temperature"
    INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
    TOKEN_TYPE: Final = "gen_ai.token.type"
    COST: Final = "gen_ai.usage.cost"
    COST_AMOUNT: Final = "gen_ai.usage.cost.amount"
    COST_CURRENCY: Final = "gen_ai.usage.cost.currency"
    COST_SOURCE: Final = "gen_ai.usage.cost.source"
    TOOL: Final = "gen_ai.tool.name"
    TOOL_TYPE: Final = "gen_ai.tool.type"
    CALL_ID: Final = "gen_ai.tool.call.id"
    ARGUMENTS: Final = "gen_ai.tool.call.arguments"
    RESULT: Final = "gen_ai.tool.call.result"
    ERROR: Final = "error.type"
    SERVER: Final = "server.address"
    PORT: Final = "server.port"


class Reader:
    """What particular readers look for."""

    SPAN_KIND: Final = "openinference.span.kind"
    """Langfuse, Phoenix."""
    LLM_COST: Final = "llm.cost.total"
    """Langfuse, Phoenix: US dollars."""
    MLFLOW_COST: Final = "mlflow.llm.cost"
    """MLflow: JSON of `input_cost`, `output_cost` and `total_cost` in US dollars."""


class Kind:
    """Values of `openinference.span.kind`."""

    RUN: Final = "AGENT"
    PLAN: Final = "CHAIN"
    TOOL: Final = "TOOL"
    LLM: Final = "LLM"
    STEP: Final = "CHAIN"


class Metric:
    """Names of metrics; times are in seconds, money in US dollars."""

    RUN_TIME: Final = "gen_ai.workflow.duration"
    TOOL_TIME: Final = "gen_ai.execute_tool.duration"
    CHAT_TIME: Final = "gen_ai.client.operation.duration"
    TOKENS: Final = "gen_ai.client.token.usage"
    CHAT_COST: Final = "gen_ai.client.operation.cost"
    COST: Final = "catp.cost"
    SAVED: Final = "catp.saved"
    CALLS: Final = "catp.calls"
    FAILURES: Final = "catp.failures"
    REFUSALS: Final = "catp.refusals"


class Conventions(Enum):
    """Which version of the GenAI conventions is written; see the table above."""

    DEFAULT = "1.41"
    LATEST = "gen_ai_latest_experimental"

    @classmethod
    def chosen(cls, environ: Mapping[str, str] = os.environ) -> "Conventions":
        """Read `OTEL_SEMCONV_STABILITY_OPT_IN`, a list of opt-ins of which only ours counts."""
        opted = [word.strip() for word in environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")]
        return cls.LATEST if cls.LATEST.value in opted else cls.DEFAULT


def captures_content(environ: Mapping[str, str] = os.environ) -> bool:
    """True if arguments and results may be written: `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`.

    `true` and the newer values `span_only` and `span_and_event` switch it on; events carry no content here.
    """
    wanted = environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").strip().lower()
    return wanted in ("true", "1", "span_only", "span_and_event")
