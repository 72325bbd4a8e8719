"""The spans of one eventful run, to the last attribute, as a file that a reviewer can read.

After a wanted change: `CATP_WRITE_GOLDEN=1 python -m pytest tests/telemetry/test_golden_spans.py`, then read the diff.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from catp.planlang.money import Money, parse_usd
from catp.runtime.ledger import Ledger
from catp.runtime.run import RunOutcome
from catp.runtime.testing import CENT, compiled
from catp.telemetry.testing import World, attributes
from catp.tools.errors import ToolFailed

GOLDEN = Path(__file__).parent / "golden"

DIAMOND = """plan diamond
in q: text
src = fetch(q) @retry(2, backoff=1s)
left = broken(src) | mend(src)
right = ask(src)
other = translate(right) when src == "nothing"
end = join(left, right)
out end, other?
"""


async def eventful(world: World) -> RunOutcome:
    world.tools.add("fetch", takes_s=0.25, script=[ToolFailed("fetch", "busy", error_type="Busy"), "a page"])
    world.tools.add("broken", takes_s=0.1, script=[ToolFailed("broken", "out of order", error_type="Broken")])
    world.tools.add("mend", takes_s=0.2)
    world.add_model("ask")
    world.tools.add("translate")
    world.tools.add("join", params=("x", "y"), takes_s=0.05)
    return await world.run(DIAMOND, {"q": "what?"}, seed=3, ledger=Ledger(Money(10 * CENT)))


def shown(span: ReadableSpan) -> dict[str, Any]:
    assert span.context is not None
    return {
        "id": span.context.span_id,
        "parent": span.parent.span_id if span.parent else None,
        "trace": span.context.trace_id,
        "name": span.name,
        "kind": span.kind.name,
        "ms": [round((at - 1_700_000_000_000_000_000) / 1e6, 3) for at in (span.start_time or 0, span.end_time or 0)],
        "status": span.status.status_code.name,
        "reason": span.status.description,
        "attributes": dict(sorted(attributes(span).items())),
        "links": [{"to": link.context.span_id, **dict(link.attributes or {})} for link in span.links],
        "events": [{"name": event.name, **dict(event.attributes or {})} for event in span.events],
    }


@pytest.mark.parametrize("opt_in", ["", "gen_ai_latest_experimental"])
async def test_spans_of_an_eventful_run(opt_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", f"http,{opt_in}")
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)
    world = World()
    outcome = await eventful(world)
    assert outcome.status == "complete"
    digest = compiled(DIAMOND, world.tools).digest  # whose value is not this test's business
    text = json.dumps([shown(span) for span in world.spans], indent=1, default=list).replace(digest, "DIGEST") + "\n"
    path = GOLDEN / f"diamond{'_latest' if opt_in else ''}.json"
    if os.environ.get("CATP_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "if this change is wanted: CATP_WRITE_GOLDEN=1, and read the diff"


async def test_the_calls_cost_what_the_ledger_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SEMCONV_STABILITY_OPT_IN", raising=False)
    world = World()
    outcome = await eventful(world)
    run = world.one("invoke_workflow diamond")
    priced = [attributes(span) for span in world.spans if span is not run and "catp.cost.amount" in attributes(span)]
    assert len(priced) == 6
    assert sum(parse_usd(found["catp.cost.amount"]) for found in priced) == outcome.spent
    assert parse_usd(attributes(run)["catp.cost.amount"]) == outcome.spent
    for foreign in ("gen_ai.usage.cost", "llm.cost.total"):
        assert sum(found[foreign] for found in priced) == pytest.approx(outcome.spent / 1e9)
        assert foreign not in attributes(run)  # readers add up: the run must not count its calls again
    assert sum(json.loads(found["mlflow.llm.cost"])["total_cost"] for found in priced) == pytest.approx(
        outcome.spent / 1e9
    )
