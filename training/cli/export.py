"""`catp export`: write a policy for other programs, and say how far its answers moved."""

from pathlib import Path
from typing import Annotated

import typer

from catp.cli.options import JsonOption
from catp.cli.output import EXIT_USAGE, emit_json, emit_text, fail, printable
from catp.training.cli.model_errors import model_errors

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    model: Annotated[str, typer.Option(metavar="NAME|DIR", help="The policy.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder that is new or empty.", show_default=False)],
    merge: Annotated[bool, typer.Option("--merge", help="A whole model that transformers reads (default).")] = False,
    adapter: Annotated[bool, typer.Option("--adapter", help="The LoRA adapter alone, as peft reads it.")] = False,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="Of a whole model's weights: float32, float16 or bfloat16.")
    ] = "float32",
    base: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where an adapter's base lies, if it was moved.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Write a policy as a standard Hugging Face folder; a merged one is read back and its logits are compared."""
    from catp.training.policy.card import write_card
    from catp.training.policy.manifest import read_manifest
    from catp.training.policy.merge import export as write
    from catp.training.policy.models import find_model

    if merge and adapter:
        fail("both --merge and --adapter", EXIT_USAGE, help="give one of them")
    with model_errors():
        folder = find_model(model)
        done = write(folder, out, mode="adapter" if adapter else "merge", dtype=dtype, base=base)
        write_card(out, read_manifest(out), _events(folder))
    if json_:
        emit_json("catp.export/1", {
            "folder": done.folder, "mode": done.mode, "bytes": done.bytes, "logit_difference": done.difference,
            "tolerance": done.tolerance,
        })  # fmt: skip
        return
    size = f"{done.bytes / 2**20:,.1f} MiB"
    if done.difference is None:
        emit_text(printable(f"{out}: the adapter as it was, {size}"))
    else:
        emit_text(
            printable(f"{out}: {size}; greatest difference of logits {done.difference:.3g} of the greatest logit")
            + f" (allowed: {done.tolerance:g})"
        )


def _events(folder: Path) -> list[dict[str, object]]:
    """What the run told, if the policy still lies in its run's folder."""
    from catp.training.caorl.metrics import read_metrics
    from catp.training.caorl.run import METRICS

    path = folder.resolve().parent / METRICS
    return read_metrics(path) if path.is_file() else []
