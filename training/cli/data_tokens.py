"""`catp data show --tokens`: the exact text a policy is trained on, token by token."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from catp.cli.output import EXIT_USAGE, emit_json, emit_text, fail
from catp.training.cli.model_errors import model_errors

if TYPE_CHECKING:
    from catp.training.caorl.show import Shown
    from catp.training.data.trajectory import Trajectory

__all__ = ["show_tokens"]


def show_tokens(file: Path, record: "Trajectory", model: str | None, alpha: float, *, json_: bool) -> None:
    """Print a record's example; `model` None is the shipped policy. Whatever is wrong ends the command."""
    from catp.training.caorl.show import example_of
    from catp.training.data.files import read
    from catp.training.policy.models import default_model, find_model

    with model_errors():
        folder = default_model() if model is None else find_model(model)
        if folder is None:
            fail("no policy is installed whose tokens could be shown", EXIT_USAGE, help="name one with --model")
        siblings = [one for one in read(file) if one.candidate_set == record.candidate_set]
        shown = example_of(record, siblings, folder, alpha)
    if json_:
        emit_json("catp.data.tokens/1", {"trajectory_id": record.trajectory_id, **asdict(shown)})
    else:
        emit_text("\n".join(_text(shown)))


def _text(shown: "Shown") -> Iterator[str]:
    from catp.cli.report import columns

    count = sum(len(tokens) for _, tokens in shown.prompt)
    yield f"prompt: {count} tokens"
    for name, tokens in shown.prompt:
        yield f"  {name}: {len(tokens)} tokens"
        yield from columns([(line,) for line in _lines(name, tokens)])
    targets = [token for token in shown.plan if token.choices is not None]
    yield (
        f"plan: {len(shown.plan)} tokens, {len(targets)} of them targets; utility {shown.utility:.4f} at alpha "
        f"{shown.alpha:g}, weight {shown.weight:.3f} among {shown.plans} plans"
    )
    rows = [("token", "id", "target", "")]
    for token in shown.plan:
        target = "forced" if token.choices is None else f"1 of {token.choices}"
        read = "" if token.score is None else f"quality is read: measured {token.score:.4f}, share {token.share:.2f}"
        rows.append((token.token, str(token.id), target, read))
    yield from columns(rows, right=(1,))


def _lines(name: str, tokens: Sequence[str]) -> Iterator[str]:
    """One tool, input or wanted output on a line."""
    first = {"tools": "<t", "inputs": "<i", "goals": "<o"}.get(name)
    line = list[str]()
    for token in tokens:
        if first is not None and line and token.startswith(first) and token[2:-1].isdigit():
            yield " ".join(line)
            line = []
        line.append(token)
    yield " ".join(line)
