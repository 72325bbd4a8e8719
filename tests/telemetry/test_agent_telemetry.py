"""An agent with telemetry: one trace per request in the caller's context, content only if asked for, off by default."""

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from PIL import Image

from catp.agent import Agent
from catp.config import ConfigError, load_settings
from catp.planlang.money import parse_usd, usd
from catp.planners.protocol import PlanningFailed
from catp.result import RunCancelled, RunRefused
from catp.telemetry import TelemetryError, telemetry_for
from catp.telemetry.testing import Recorded, attributes
from catp.tools import Catalogue, PerCall, command_tool, tool

seen: dict[str, int] = {}
hanging: list[asyncio.Event] = []


def now_current(place: str) -> None:
    seen[place] = trace.get_current_span().get_span_context().span_id


@dataclass(frozen=True)
class Mood:
    """How a text feels."""

    label: str


@tool(price=PerCall("0.01"), accuracy=0.9, capability="mood")
async def mood(text: str) -> Mood:
    """Judge the mood of a text."""
    now_current(f"async {text}")
    await asyncio.sleep(0)
    now_current(f"later {text}")
    if text == "hang":
        hanging.pop().set()
        await asyncio.sleep(3600)
    return Mood("good" if "good" in text else "bad")


@tool(price=PerCall("0.02"), placement="thread")
def shout(label: str) -> str:
    """Say it louder."""
    now_current("thread")
    return label.upper()


@tool(price=PerCall("0.03"))
async def sketch(label: str) -> Image.Image:
    """Draw it."""
    return Image.new("RGB", (4, 3))


ECHO = command_tool("echo", ["echo", "{text}"], params={"text": str}, returns=str)
CATALOGUE = Catalogue([mood, shout, sketch, ECHO])
PLAN = "plan feel\nin text: text\nm = mood(text)\nloud = shout(m.label)\nout loud"


@pytest.fixture(autouse=True)
def _default_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SEMCONV_STABILITY_OPT_IN", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"):
        monkeypatch.delenv(name, raising=False)
    seen.clear()


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def agent(recorded: Recorded, **options: Any) -> Agent:
    return Agent(CATALOGUE, telemetry=recorded.telemetry, **options)


async def test_planning_and_calls_are_one_trace_whose_costs_are_the_ledger(recorded: Recorded) -> None:
    result = await agent(recorded, budget="0.5").run("judge the mood", {"text": "good"}, wanted={"mood": "Mood"})
    run, plan, call = recorded.spans
    assert [span.name for span in (run, plan, call)] == ["invoke_workflow", "plan search", "execute_tool mood"]
    assert [span.parent for span in (plan, call)] == [run.context, run.context]
    assert run.parent is None
    assert (run.start_time or 0) <= (plan.start_time or 0) < (plan.end_time or 0) <= (call.start_time or 0)
    assert (attributes(plan)["catp.plan.candidates"], attributes(plan)["catp.plan.n_nodes"]) == (1, 1)
    told = attributes(run)
    assert (told["catp.run.id"], told["catp.policy"], told["catp.budget.amount"]) == (result.run_id, "search", "0.50")
    parts = [parse_usd(attributes(span)["catp.cost.amount"]) for span in (plan, call)]
    assert parse_usd(told["catp.cost.amount"]) == result.spent == sum(parts)
    assert parts[0] == result.ledger[0].amount
    assert told["catp.plan.hash"] == result.plan.digest
    # a plan that was made here is named after the task: neither few names nor ours to publish
    assert "gen_ai.workflow.name" not in told


async def test_the_caller_s_span_is_the_parent_and_tools_see_their_own(recorded: Recorded) -> None:
    tracer = recorded.tracers.get_tracer("application")
    with tracer.start_as_current_span("request") as request:
        await agent(recorded).run(PLAN, {"text": "good"})
        assert trace.get_current_span() is request
    outer, run, first, second = recorded.spans
    assert run.parent == outer.context
    assert run.name == "invoke_workflow feel"
    ids = [span.context.span_id for span in (first, second) if span.context is not None]
    assert [seen["async good"], seen["later good"], seen["thread"]] == [ids[0], ids[0], ids[1]]


async def test_runs_at_once_keep_their_spans_apart(recorded: Recorded) -> None:
    one = agent(recorded)
    await asyncio.gather(*(one.run(PLAN, {"text": f"good {i}"}) for i in range(20)))
    runs = {span.context.trace_id: span for span in recorded.named("invoke_workflow feel") if span.context is not None}
    assert len(runs) == 20
    calls = recorded.named("execute_tool mood")
    assert sorted(call.context.trace_id for call in calls if call.context is not None) == sorted(runs)
    assert {seen[f"later good {i}"] for i in range(20)} == {call.context.span_id for call in calls if call.context}


async def test_a_quote_made_earlier_is_linked(recorded: Recorded) -> None:
    one = agent(recorded)
    quote = await one.quote("judge the mood", {"text": "good"}, wanted={"mood": "Mood"})
    await one.run(quote, {"text": "good"})
    plan, run = recorded.one("plan search"), recorded.one("invoke_workflow")
    assert [link.context for link in run.links] == [plan.context]


async def test_what_never_ran_is_an_error_of_the_request(recorded: Recorded) -> None:
    with pytest.raises(RunRefused):
        await agent(recorded, budget="0.001").run(PLAN, {"text": "good"})
    with pytest.raises(PlanningFailed):
        await agent(recorded).run("fly me to the moon", {"text": "good"})
    runs = [span for span in recorded.spans if span.name.startswith("invoke_workflow")]
    assert [attributes(run)["error.type"] for run in runs] == ["RunRefused", "IntentError"]
    assert {run.status.status_code for run in runs} == {StatusCode.ERROR}
    assert recorded.metrics()["catp.refusals"] == {(("catp.refusal.kind", "admission"),): 1}


async def test_a_run_that_waits_and_goes_on_is_two_spans_of_one_run(recorded: Recorded, tmp_path: Path) -> None:
    plan = "plan feel\nin text: text\nm = mood(text)\nloud = shout(m.label) @approve\nout loud"

    one = agent(recorded, store=tmp_path / "runs.db", approve="later")
    first = await one.run(plan, {"text": "good"})
    assert first.status == "waiting"
    await one.decide(first.run_id, "loud")
    done = await one.resume(first.run_id)
    await one.close()
    assert done.status == "complete"
    before, after = [span for span in recorded.spans if span.name.startswith("invoke_workflow")]
    assert [attributes(run)["catp.run.status"] for run in (before, after)] == ["waiting", "complete"]
    assert [attributes(run).get("catp.run.resumed") for run in (before, after)] == [None, True]
    assert {attributes(run)["catp.run.id"] for run in (before, after)} == {first.run_id}
    (shouted,) = recorded.step("loud")
    assert shouted.parent == after.context
    assert seen["thread"] == (shouted.context.span_id if shouted.context else 0)
    assert parse_usd(attributes(after)["catp.cost.amount"]) == done.spent == usd("0.03")
    assert len(recorded.metrics()["gen_ai.workflow.duration"]) == 2  # one with the workflow's name, one without


async def test_a_cancelled_run_is_told_to_its_end(recorded: Recorded) -> None:
    hangs = asyncio.Event()
    hanging.append(hangs)
    running = asyncio.ensure_future(agent(recorded).run(PLAN, {"text": "hang"}))
    await hangs.wait()
    running.cancel()
    with pytest.raises(RunCancelled) as stopped:
        await running
    run = recorded.one("invoke_workflow feel")
    assert (attributes(run)["error.type"], attributes(run)["catp.run.status"]) == ("cancelled", "cancelled")
    costs = [attributes(span)["catp.cost.amount"] for span in recorded.named("execute_tool mood")]
    assert sum(map(parse_usd, costs)) == stopped.value.result.spent > 0
    assert [span.name for span in recorded.step("loud")] == ["step cancelled"]


@pytest.mark.parametrize("wanted", [None, "true", "span_only"])
async def test_arguments_and_results_only_if_asked_for(wanted: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if wanted is not None:
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", wanted)
    recorded = Recorded()
    plan = "in text: text\nm = mood(text)\nloud = shout(m.label)\npic = sketch(loud)\nback = echo(text)\nout pic, back"
    async with agent(recorded) as one:
        result = await one.run(plan, {"text": "good grief"})
    assert result.status == "complete"
    content = {
        str(attributes(span)["catp.node.id"]): (
            attributes(span).get("gen_ai.tool.call.arguments"),
            attributes(span).get("gen_ai.tool.call.result"),
        )
        for span in recorded.spans[1:]
    }
    if wanted is None:
        assert set(content.values()) == {(None, None)}
        everything = str([[dict(attributes(span)), span.name, span.status.description] for span in recorded.spans])
        assert "grief" not in everything
    else:
        assert content["m"] == ('{"text": "good grief"}', '{"label": "good"}')
        assert content["loud"] == ('{"label": "good"}', '"GOOD"')
        assert content["pic"] == ('{"label": "GOOD"}', '"<Image 4x3>"')
        assert content["back"] == ('{"text": "good grief"}', '"good grief\\n"')


# --- off, missing, misconfigured -----------------------------------------------------------------------------------

SCRIPT = """
import sys
from catp import Agent, Catalogue, tool
from catp.tools import Free
@tool(price=Free())
async def hello(name: str) -> str:
    "Greet."
    return "hello " + name
"""


def python(code: str, *args: str, cwd: Path | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    import os

    known = {
        key: value
        for key, value in os.environ.items()
        if key == "CATP_PLANNER" or not key.startswith(("OTEL_", "CATP_"))
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args],
        capture_output=True, text=True, timeout=100, cwd=cwd, env={**known, **environment}, check=False,
    )  # fmt: skip


def test_without_it_opentelemetry_is_never_imported() -> None:
    done = python(
        SCRIPT + 'r = Agent([hello]).run_sync("in n: text\\na = hello(n)\\nout a", {"n": "you"})\n'
        'print(r.outputs["a"], [m for m in sys.modules if m.startswith("opentelemetry")])'
    )
    assert (done.stdout.strip(), done.stderr) == ("hello you []", "")


BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Missing())
"""


def test_a_missing_extra_says_how_to_get_it(tmp_path: Path) -> None:
    done = python(BLOCK + SCRIPT + "Agent([hello], telemetry=True)")
    assert "TelemetryError: telemetry needs opentelemetry" in done.stderr
    assert "pip install 'catp[otel]'" in done.stderr
    (tmp_path / "p.plan").write_text("a = now()\nout a")
    command = "from catp.cli import main\nmain()"
    done = python(BLOCK + command, "run", "p.plan", cwd=tmp_path, CATP_TELEMETRY="1", HOME=str(tmp_path))
    assert done.returncode == 2
    assert "pip install 'catp[otel]'" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
     ("OTEL_METRICS_EXPORTER", "prometheus")],
)  # fmt: skip
def test_an_export_we_do_not_have_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TelemetryError, match=f"{name}={value}"):
        telemetry_for(True)


@pytest.mark.parametrize(("raw", "wanted"), [("1", True), ("true", True), ("Off", False), ("0", False)])
def test_the_setting(raw: str, wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CATP_TELEMETRY", raising=False)
    assert load_settings(directory=tmp_path).telemetry is False
    monkeypatch.setenv("CATP_TELEMETRY", raw)
    assert load_settings(directory=tmp_path).telemetry is wanted
    monkeypatch.setenv("CATP_TELEMETRY", "maybe")
    with pytest.raises(ConfigError, match="CATP_TELEMETRY: telemetry = 'maybe' is not valid: must be true or false"):
        load_settings(directory=tmp_path)
