"""`catp plan TASK`: candidate plans for a task, priced and compared. Nothing is run, nothing is spent."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catp.cli.asked import parse_wanted, read_cli_inputs
from catp.cli.config import settings_or_fail
from catp.cli.options import (
    AlphaOption,
    BudgetOption,
    DeadlineOption,
    InputsOption,
    JsonOption,
    PlannerOption,
    ToolsOption,
    WantOption,
)
from catp.cli.output import EXIT_USAGE, dollars, emit_json, emit_text, fail, milliseconds, write_atomic
from catp.cli.report import columns, print_quote, quote_json
from catp.cli.run_agent import agent_from
from catp.cli.run_end import guarded

if TYPE_CHECKING:
    from catp.result import Planned, Quote

__all__ = ["task"]


def task(
    text: Annotated[str, typer.Argument(metavar="TASK", help="What to do, in words.")],
    input_: InputsOption = None,
    want: WantOption = None,
    alpha: AlphaOption = None,
    budget: BudgetOption = None,
    deadline: DeadlineOption = None,
    planner: PlannerOption = None,
    tools: ToolsOption = None,
    candidates: Annotated[int, typer.Option(min=1, max=50, help="How many plans to compare.")] = 5,
    front: Annotated[
        bool, typer.Option("--front", help="Compare plans that no other beats in price, quality and latency at once.")
    ] = False,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw the best plan.")] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the best plan as a Mermaid diagram.")] = False,
    json_: JsonOption = False,
) -> None:
    """Plan a task and price the candidates, without running anything."""
    if Path(text).suffix in (".plan", ".json"):
        fail(f"{text!r} is a plan file, not a task", EXIT_USAGE, help=f"catp plan show {text}, or catp run {text}")
    from catp.planners.protocol import FrontPlanner

    settings = settings_or_fail(alpha=alpha, budget=budget, deadline=deadline, planner=planner, tools=tools)
    inputs = read_cli_inputs(input_ or [])
    agent = agent_from(settings, save=False)

    if front and not isinstance(agent.planner, FrontPlanner):
        fail(f"planner {agent.planner.name!r} shows no Pareto front; use search or policy", EXIT_USAGE)

    async def work() -> "Planned":
        try:
            wanted = parse_wanted(want or [])
            return await agent.plan(text, inputs, wanted=wanted, candidates=candidates, front=front)
        finally:
            await agent.close()

    planned = guarded(work)
    if svg is not None:
        from catp.planlang.render.svg import to_svg

        write_atomic(svg, to_svg(planned.best.compiled))
    if mermaid:
        from catp.planlang.render.mermaid import to_mermaid

        emit_text(to_mermaid(planned.best.compiled))
    elif json_:
        document = {
            "front": front, "exact": planned.exact, "notes": list(planned.notes),
            "planning": None if planned.planning is None else planned.planning.to_json(),
        }  # fmt: skip
        emit_json("catp.plans/1", {**document, "candidates": [quote_json(q) for q in planned.candidates]})
    else:
        _print(planned, front)


def _print(planned: "Planned", front: bool) -> None:
    print_quote(planned.best)
    if front:
        title = "Pareto front, cheapest first; * is the plan above"
        ranked = sorted(planned.candidates, key=lambda quote: (quote.price.expected is None, quote.price.expected or 0))
        marks = ["*" if quote is planned.best else "" for quote in ranked]
        _compare(title, list(zip(marks, ranked, strict=True)))
    elif len(planned.candidates) > 1:
        _compare("Candidates", [(str(rank), quote) for rank, quote in enumerate(planned.candidates, 1)])


def _compare(title: str, named: "Sequence[tuple[str, Quote]]") -> None:
    rows = [("", "quality", "price", "p95", "latency", "tools")]
    for name, quote in named:
        chosen = ", ".join(str(attempt.tool) for step in quote.compiled.plan.steps for attempt in step.attempts)
        rows.append(
            (
                name,
                "?" if quote.quality is None else f"{quote.quality:.2f}",
                dollars(quote.price.expected),
                dollars(quote.price.p95),
                milliseconds(quote.latency.expected_ms),
                chosen,
            )
        )
    emit_text("\n".join([title, *columns(rows, right=(1, 2, 3, 4))]))
