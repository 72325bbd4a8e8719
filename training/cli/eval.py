"""`catp eval`: measure a trained policy. It is `catp bench eval --planner policy:MODEL`, with its options."""

from pathlib import Path
from typing import Annotated

import typer

from catp.cli.options import JsonOption
from catp.training.cli.bench_eval import ToolsetOption
from catp.training.cli.bench_eval import evaluate as bench_eval

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

SHIPPED = "catp-bench"


@app.command()
def evaluate(
    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="The policy; the shipped one if not given.")
    ] = None,
    data: Annotated[
        str, typer.Option(metavar="PATH", help="catp-bench, or a file or folder of trajectories.")
    ] = SHIPPED,
    toolset: ToolsetOption = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="P", help="What is held out; see catp bench eval --help.")
    ] = None,
    alpha: Annotated[
        list[float] | None,
        typer.Option(min=0, max=1, help="Weight of quality against price; repeat. Eight if not set."),
    ] = None,
    free: Annotated[
        bool, typer.Option("--free", help="Let it write plans itself, instead of choosing among measured ones.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="With --free: ask about N inputs only.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the Pareto picture (.svg or .png).")] = None,
    out: Annotated[Path | None, typer.Option(metavar="JSON", help="Write all figures to this file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    seed: Annotated[int, typer.Option(help="Of the folds, the bootstrap and the draw of --limit.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Measure a policy on held-out inputs: regret over the sweep of alpha, hypervolume, hits, coverage, time, price.

    Compare it with baselines by catp bench eval --planner policy:DIR --planner cheapest --planner gbm.
    """
    kind = "policy-free" if free else "policy"
    bench_eval(
        planner=[kind if model is None else f"{kind}:{model}"], data=None if data == SHIPPED else Path(data),
        toolset=toolset, protocol=protocol, alpha=alpha, limit=limit, run=False, plot=plot, out=out,
        markdown=markdown, seed=seed, json_=json_,
    )  # fmt: skip
